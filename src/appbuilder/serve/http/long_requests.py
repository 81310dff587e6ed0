"""Work that takes longer than a request should: in slices, and only while its client is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from appbuilder import clock
from appbuilder.errors import InvalidRequest
from appbuilder.protocols.body import JSON
from appbuilder.serve.auth.request_info import Receive, Scope, Send
from appbuilder.serve.http.messages import NOT_KEPT, caller
from appbuilder.serve.http.rate_limits import limit_key
from appbuilder.serve.http.thread_pools import Pool

SLICE = 0.05
"""Seconds after which a thread is given back, and the client looked for."""
WRITE = 64 * 1024
"""Bytes of one write; the next one waits until the client has read."""


class ClientDisconnected(InvalidRequest):
    """The client does not wait for the answer any more."""


class ClientPresence:
    """Whether the client of a request is still there."""

    def __init__(self, watching: asyncio.Task[None]) -> None:
        self._watching = watching

    @property
    def left(self) -> bool:
        """True once it has closed its connection."""
        return self._watching.done()


@asynccontextmanager
async def presence(receive: Receive) -> AsyncIterator[ClientPresence]:
    """Watches whether the client leaves. The body has been read, or there is no body."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    watching = asyncio.ensure_future(watch())
    try:
        yield ClientPresence(watching)
    finally:
        watching.cancel()


async def in_slices(pool: Pool, steps: Iterator[Any], here: ClientPresence, *, writing: bool = False) -> None:
    """Takes all *steps* in threads of *pool*.

    :param writing: the steps write where one can write at a time: half of the time is left to others. The
        thread is kept meanwhile, so that they do not wait for the next one of its kind instead.
    :raises ClientDisconnected: the client has left; the steps that are left are not taken.
    """

    def some() -> bool:
        began = clock.monotonic()
        for _ in steps:
            took = clock.monotonic() - began
            if took >= SLICE:
                if writing:
                    time.sleep(took)
                return True
        return False

    while await pool.run(some):
        if here.left:
            raise ClientDisconnected("The client has left.")


class Written(StreamingResponse):
    """An answer that is written in small parts: what its client does not read stays where it is.

    :param parts: what fails when one is taken cuts the answer off.
    """

    def __init__(self, parts: AsyncIterator[bytes], media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(parts, headers=headers, media_type=media_type)
        self.held = AsyncExitStack()
        """Is closed when the answer has ended."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.held, presence(receive) as here:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for part in self.body_iterator:
                for at in range(0, len(part), WRITE):
                    if here.left:
                        return
                    some = part[at : at + WRITE]
                    await send({"type": "http.response.body", "body": some, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def wait_in_line(request: Request, pool: Pool, held: AsyncExitStack) -> None:
    """Takes a place of the caller's in *pool*, which *held* gives back.

    :raises RateLimited: too many of the caller's wait already.
    :raises ClientDisconnected: the client has left meanwhile.
    """
    waited = await held.enter_async_context(pool.place(limit_key(caller(request))))
    if waited and await request.is_disconnected():
        raise ClientDisconnected("The client has left.")


def answer_in_parts(parts: list[bytes], held: AsyncExitStack) -> Response:
    """*parts* as one JSON answer; what is *held* is kept until a large one has been read."""
    length = sum(map(len, parts))
    if length <= WRITE:
        return Response(b"".join(parts), 200, NOT_KEPT, JSON)
    answer = Written(each_of(parts), JSON, {**NOT_KEPT, "Content-Length": str(length)})
    answer.held = held.pop_all()
    return answer


async def each_of(parts: list[bytes]) -> AsyncIterator[bytes]:
    """*parts*, which are let go of one by one."""
    parts.reverse()
    while parts:
        yield parts.pop()
