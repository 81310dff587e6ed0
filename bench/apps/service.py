"""What `appbuilder serve` serves: each answer as a synchronous and as an asynchronous component."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from appbuilder import Component, Message, UserSession
from bench.apps import text


class Echo(Component):
    """Answers with what it was asked."""

    def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        return Message(message.content)


class AsyncEcho(Component):
    """The same, on the event loop."""

    async def arun(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        return Message(message.content)


class Tokens(Component):
    """Answers with a stream of pieces."""

    def run(
        self, message: Message[Any], stream: bool = False, count: int = 1, delay: float = 0.0
    ) -> Message[Any]:
        return Message(text.pieces(count, delay))


class AsyncTokens(Component):
    """The same, on the event loop."""

    async def arun(
        self, message: Message[Any], stream: bool = False, count: int = 1, delay: float = 0.0
    ) -> Message[Any]:
        return Message(_pieces(count, delay))


class History(Component):
    """Reads two keys of history and appends two messages, as the seed's component does."""

    def run(self, message: Message[str], stream: bool = False) -> Message[str]:
        session = UserSession()
        queries = session.get_history("query", limit=1)
        answers = session.get_history("answer", limit=1)
        last_query = queries[-1].content if queries else "-"
        last_answer = answers[-1].content if answers else "-"
        answer = Message(text.reply(str(message.content), str(last_query), str(last_answer)))
        session.append({"query": message, "answer": answer})
        return answer


async def _pieces(count: int, delay: float) -> AsyncIterator[str]:
    for number in range(count):
        if number and delay:
            await asyncio.sleep(delay)
        yield f"t{number} "


echo, echo_async = Echo(), AsyncEcho()
tokens, tokens_async = Tokens(), AsyncTokens()
history = History()
