"""An application on AppBuilder behind FlaskRuntime; each request brings its credential, unless the server has
one. GATEWAY_URL_V2 is the test's double."""

from __future__ import annotations

import os

from flask import Flask

from appbuilder import AppBuilderClient
from appbuilder.utils.flask_deploy import FlaskRuntime


def app() -> Flask:
    """For gunicorn."""
    client = AppBuilderClient("app-1", lazy_certification="APPBUILDER_TOKEN" not in os.environ)
    return FlaskRuntime(client, os.environ["DATABASE"]).create_flask_app()
