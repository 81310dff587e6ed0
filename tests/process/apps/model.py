"""A component that asks a model; each request brings its credential, unless the server has one."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask
from tests.process.apps.scripted import with_probe

from appbuilder import Message, Playground, UserSession
from appbuilder.core.component import Component
from appbuilder.utils.flask_deploy import FlaskRuntime

LAZY = "APPBUILDER_TOKEN" not in os.environ


class Asking(Component):
    """Asks the model, and keeps question, parameter and answer."""

    def __init__(self) -> None:
        super().__init__(lazy_certification=LAZY)
        self.playground = Playground(
            prompt_template="{query}{flavour}",
            model=os.environ.get("MODEL_NAME", "eb-4"),
            lazy_certification=LAZY,
        )

    def run(self, message: Message[Any], stream: bool = False, flavour: str = "") -> Any:
        session = UserSession()
        session.get_history("answer", limit=3)
        filled = Message({"query": message.content, "flavour": flavour})
        answer = self.playground.run(filled, stream=stream)
        session.append({"query": message, "flavour": Message(flavour), "answer": answer})
        return answer


def make() -> FlaskRuntime:
    return FlaskRuntime(Asking(), os.environ["DATABASE"])


def app() -> Flask:
    """For gunicorn."""
    return with_probe(make().create_flask_app())
