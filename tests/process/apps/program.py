"""The scripted component, served by ``serve``: on the port in PORT, as SERVE_DEBUG and SERVE_HOST say."""

from __future__ import annotations

import os

from flask import Flask
from tests.process.apps import scripted

from appbuilder.utils.flask_deploy import FlaskRuntime


class Probed(FlaskRuntime):
    """With the addresses of the tests."""

    def _app(self, url_rule: str, *, debug: bool) -> Flask:
        return scripted.with_probe(super()._app(url_rule, debug=debug))


if __name__ == "__main__":
    Probed(scripted.Scripted(), os.environ["DATABASE"]).serve(
        host=os.environ.get("SERVE_HOST", "127.0.0.1"),
        debug=os.environ.get("SERVE_DEBUG") == "yes",
        port=int(os.environ["PORT"]),
    )
