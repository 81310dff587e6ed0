"""A component that takes any message and any arguments, keeps both and gives the message back."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask

from appbuilder import Message, UserSession
from appbuilder.core.component import Component
from appbuilder.utils.flask_deploy import FlaskRuntime


class Anything(Component):
    """See the module."""

    def run(self, message: Message[Any], stream: bool = False, **args: Any) -> Message[Any]:
        session = UserSession()
        session.get_history("said", limit=2)
        session.append({"said": message, "args": Message(args)})
        return Message(message.content)


def app() -> Flask:
    """For gunicorn."""
    return FlaskRuntime(Anything(), os.environ["DATABASE"]).create_flask_app()
