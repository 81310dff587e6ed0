"""Two runtimes with two databases in one process."""

from __future__ import annotations

from typing import Any

from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from appbuilder import Message, UserSession
from appbuilder.core.component import Component
from appbuilder.utils.flask_deploy import FlaskRuntime


class Remembering(Component):
    """Answers with what it was told before."""

    def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        session = UserSession()
        before = [told.content for told in session.get_history("told")]
        session.append({"told": message})
        return Message(before)


def app() -> Any:
    """For gunicorn."""
    one = FlaskRuntime(Remembering(), "sqlite:///one.db").create_flask_app()
    two = FlaskRuntime(Remembering(), user_session=UserSession("sqlite:///two.db")).create_flask_app()
    root = Flask("root")
    root.add_url_rule("/health", view_func=lambda: "")
    return DispatcherMiddleware(root.wsgi_app, {"/one": one.wsgi_app, "/two": two.wsgi_app})
