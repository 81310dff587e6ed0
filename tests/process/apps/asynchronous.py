"""An asynchronous component: ``{"pieces": [...], "hold": bool, "mark": any name}``; one loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from flask import Flask
from tests.process.apps.scripted import calls, closed, steps, with_probe

from appbuilder import Message, UserSession
from appbuilder.core.component import Component
from appbuilder.utils.flask_deploy import FlaskRuntime


class Asynchronous(Component):
    """See the module."""

    async def arun(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        do: Any = message.content
        mark = do["mark"]
        calls[mark] += 1
        answer = Message(self.pieces(do, mark))
        UserSession().append({"query": Message(mark), "answer": answer})
        return answer

    async def pieces(self, do: Any, mark: str) -> AsyncIterator[str]:
        try:
            for piece in do["pieces"]:
                await asyncio.sleep(do.get("pace", 0))
                steps[mark] += 1
                yield piece
            if do.get("fail", 0) >= calls[mark]:
                raise OSError("secret-of-the-component")
            if do.get("hold"):
                await asyncio.Event().wait()
        finally:
            closed[mark] += 1


def make() -> FlaskRuntime:
    return FlaskRuntime(Asynchronous(), os.environ["DATABASE"])


def app() -> Flask:
    """For gunicorn."""
    return with_probe(make().create_flask_app())
