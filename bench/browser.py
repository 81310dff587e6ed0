"""A browser on a chat page, as far as the server can tell: Chainlit's events over a WebSocket.

It sends what the page's script sends, and reads answers as that does: text begins, grows, and is replaced by
the whole. A turn has ended when the whole was shown and the page would take its Stop button away.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import socketio  # type: ignore[import-untyped]

from bench.client import TIMEOUT, Failure

_DEFLATE = 15
"""Every browser offers to compress, with a window of 2**15 bytes."""


@dataclass(slots=True)
class Answer:
    """What was shown; times are seconds from sending."""

    sent: float
    first_piece: float = 0.0
    end: float = 0.0
    texts: dict[str, str] = field(default_factory=dict)
    whole: bool = False

    @property
    def text(self) -> str:
        return "".join(self.texts.values())


class Browser:
    """One conversation in one browser; it asks one question at a time."""

    def __init__(self) -> None:
        self._socket = socketio.AsyncClient(
            reconnection=False, handle_sigint=False, websocket_extra_options={"compress": _DEFLATE}
        )
        self._socket.on("*", self._received)
        self._socket.on("disconnect", self._gone)
        self._ready = asyncio.Event()
        self._answer = Answer(0.0)
        self._done: asyncio.Future[None] | None = None

    async def open(self, port: int) -> None:
        """:raises Failure: the page does not come up."""
        auth = {"clientType": "webapp", "sessionId": str(uuid4())}
        auth |= {"threadId": "", "userEnv": "{}", "chatProfile": ""}
        try:
            await self._socket.connect(
                f"http://127.0.0.1:{port}", auth=auth, transports=["websocket"], socketio_path="/ws/socket.io"
            )
            await self._socket.emit("connection_successful")
            await asyncio.wait_for(self._ready.wait(), TIMEOUT)
        except (TimeoutError, socketio.exceptions.SocketIOError) as error:
            raise Failure(f"the page did not open: {type(error).__name__}") from None

    async def ask(self, words: str) -> Answer:
        """:raises Failure: the answer did not come, or an error was shown."""
        message = {
            "id": str(uuid4()),
            "threadId": "",
            "name": "User",
            "type": "user_message",
            "output": words,
            "createdAt": datetime.now(UTC).isoformat(),
            "metadata": {"location": "http://127.0.0.1/"},
        }
        self._done = asyncio.get_running_loop().create_future()
        self._answer = Answer(time.perf_counter())
        await self._socket.emit("client_message", {"message": message, "fileReferences": []})
        try:
            await asyncio.wait_for(self._done, TIMEOUT)
        except TimeoutError:
            raise Failure(f"no answer in {TIMEOUT:g} s") from None
        return self._answer

    async def close(self) -> None:
        await self._socket.disconnect()

    def _received(self, event: str, data: Any = None) -> None:
        if event == "clear_call_fn":  # the last event a new page receives
            self._ready.set()
        elif event == "stream_token":
            self._show(data["id"], self._answer.texts.get(data["id"], "") + data["token"])
        elif event in {"stream_start", "new_message", "update_message"}:
            self._step(data)
        elif event == "task_end" and self._answer.whole:
            self._end(None)

    def _step(self, step: dict[str, Any]) -> None:
        if step["type"] != "assistant_message":
            return
        if step["isError"]:
            self._end(Failure("an error was shown"))
        elif step["output"]:
            self._show(step["id"], step["output"])
            self._answer.whole = not step["streaming"]

    def _show(self, part: str, text: str) -> None:
        answer = self._answer
        answer.first_piece = answer.first_piece or time.perf_counter() - answer.sent
        answer.texts[part] = text

    def _gone(self, *_: Any) -> None:
        self._end(Failure("connection cut"))

    def _end(self, failure: Failure | None) -> None:
        if self._done is None or self._done.done():
            return
        self._answer.end = time.perf_counter() - self._answer.sent
        if failure is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(failure)


@contextlib.asynccontextmanager
async def browser(port: int) -> AsyncIterator[Browser]:
    """A browser with the page open.

    :raises Failure: the page does not come up.
    """
    one = Browser()
    try:
        await one.open(port)
        yield one
    finally:
        await one.close()
