"""The scripted component behind a chat page on PORT, with its probe on PROBE.

A message is JSON for :class:`tests.process.apps.scripted.Scripted`, or a text, which is echoed. PAGE is JSON:
members of the page. DEBUG_PAGE=yes: its model calls and tracebacks are shown.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import AsyncIterator
from typing import Any

from flask import Flask
from tests.process.apps import scripted
from werkzeug.serving import make_server

from appbuilder import Message, UserSession
from appbuilder.utils.chainlit_deploy import ChainlitRuntime, Page, TrustedHeader


class Texted(scripted.Scripted):
    """Reads what to do from a text."""

    def run(self, message: Message[Any], stream: bool = False, flavour: Any = "") -> Any:
        try:
            do = json.loads(message.content)
        except ValueError:
            do = message.content
        return super().run(Message(do), stream, flavour)

    def remember(self, do: Any, mark: str, flavour: Any) -> Any:
        """What it was asked before in this session, and this."""
        session = UserSession()
        before = [old.content for old in session.get_history("said", limit=100)]
        session.append({"said": Message(do["text"])})
        return Message(" ".join([*before, do["text"]]))


class Awaited:
    """Answers on the event loop: two pieces, and the text."""

    async def arun(self, message: Message[Any], stream: bool = False) -> Any:
        async def pieces() -> AsyncIterator[str]:
            yield "a"
            yield message.content

        return Message(pieces())


def probe() -> None:
    """Serves /probe and /open in a thread of their own."""
    app = scripted.with_probe(Flask("probe"))
    server = make_server("127.0.0.1", int(os.environ["PROBE"]), app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def page() -> Page:
    """The page that PAGE describes."""
    members = json.loads(os.environ.get("PAGE", "{}"))
    if "user_header" in members:
        members["user_header"] = TrustedHeader(**members["user_header"])
    return Page(**members, debug=os.environ.get("DEBUG_PAGE") == "yes")


if __name__ == "__main__":
    if "PROBE" in os.environ:
        probe()
    component = Awaited() if os.environ.get("ASYNC") else Texted()
    ChainlitRuntime(component, os.environ["DATABASE"]).chainlit_component(
        host=os.environ.get("SERVE_HOST", "127.0.0.1"), port=int(os.environ["PORT"]), page=page()
    )
