"""A component of the caller's credential: it answers with the header it would send to the gateway."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask
from tests.process.apps.scripted import calls, with_probe

from appbuilder import Message
from appbuilder.core.component import Component
from appbuilder.utils.flask_deploy import FlaskRuntime


class Lazy(Component):
    """See the module."""

    def __init__(self) -> None:
        super().__init__(lazy_certification=True)

    def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        calls[""] += 1
        return Message(self.http_client.auth_header()["X-Appbuilder-Authorization"])


def make() -> FlaskRuntime:
    return FlaskRuntime(Lazy(), os.environ["DATABASE"])


def app() -> Flask:
    """For gunicorn."""
    return with_probe(make().create_flask_app())
