"""A WebSocket whose user is not known any more."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from tests.unit.callers import Clock, MemoryKeys, authenticator, stopped_clock

from appbuilder.serve.auth import authenticator as auth
from appbuilder.serve.auth import websockets
from appbuilder.serve.auth.request_info import Receive, Scope, Send, read_request_info
from appbuilder.serve.auth.websockets import WebSocketSessions
from appbuilder.serve.http.messages import IDENTITY

Messages = list[MutableMapping[str, Any]]


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stopped_clock(monkeypatch)


def talk(
    still: Clock, keys: MemoryKeys, pauses: list[float], *, revoke_at: int = -1
) -> tuple[Messages, Messages]:
    """What an echo behind the watch got and what the client got, with a pause before each message."""
    door = authenticator(keys, auth="keys")
    got: Messages = []
    sent: Messages = []

    async def echo(_: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            got.append(message)
            if message["type"] == "websocket.disconnect":
                return
            kind = "websocket.accept" if message["type"] == "websocket.connect" else "websocket.send"
            await send({"type": kind})

    async def converse() -> None:
        scope: Scope = {"type": "websocket", "path": "/", "client": ("10.0.0.5", 1),
                        "headers": [(b"host", b"h"), (b"authorization", b"Bearer ab_secret1")]}
        scope[IDENTITY] = await door.identify(read_request_info(scope))
        incoming = iter(enumerate(pauses))

        async def receive() -> MutableMapping[str, Any]:
            if not got:
                return {"type": "websocket.connect"}
            number, pause = next(incoming, (-2, 0))
            still.now += pause
            if number == revoke_at:
                keys.revoke("laptop")
            return {"type": "websocket.receive" if number >= 0 else "websocket.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await WebSocketSessions(echo, door)(scope, receive, send)

    asyncio.run(converse())
    return got, sent


@pytest.fixture
def keys() -> MemoryKeys:
    made = MemoryKeys()
    made.add("laptop", "ann")
    return made


def test_a_socket_goes_on_while_its_key_holds(still: Clock, keys: MemoryKeys) -> None:
    _, sent = talk(still, keys, [0.1, 10, 100, 0.1])
    assert [each["type"] for each in sent] == ["websocket.accept", *["websocket.send"] * 4]
    assert keys.calls["find"] == 3, "asked seldom"


def test_it_is_closed_before_the_next_message_once_the_key_is_revoked(still: Clock, keys: MemoryKeys) -> None:
    got, sent = talk(still, keys, [1, websockets.PAUSE + auth.FRESH, 1], revoke_at=1)
    kinds = [each["type"].removeprefix("websocket.") for each in got]
    assert kinds == ["connect", "receive", "disconnect"]
    assert [each["type"] for each in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert sent[-1]["code"] == 1008


def test_a_database_that_is_away_closes_nothing(still: Clock, keys: MemoryKeys) -> None:
    keys.fail = False
    original = keys.find

    def find(secret: str) -> Any:
        keys.fail = keys.calls["find"] > 0
        return original(secret)

    keys.find = find  # type: ignore[method-assign]
    _, sent = talk(still, keys, [10, 10])
    assert [each["type"] for each in sent] == ["websocket.accept", "websocket.send", "websocket.send"]


def test_nothing_is_sent_once_it_was_closed(still: Clock, keys: MemoryKeys) -> None:
    """Also what the application sends of itself, without being asked."""
    door = authenticator(keys, auth="keys")
    sent: Messages = []

    async def speaks(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        keys.revoke("laptop")
        still.now += websockets.PAUSE + auth.FRESH
        for _number in range(3):
            await send({"type": "websocket.send"})

    async def converse() -> None:
        scope: Scope = {"type": "websocket", "path": "/", "client": ("10.0.0.5", 1),
                        "headers": [(b"host", b"h"), (b"x-api-key", b"ab_secret1")]}
        scope[IDENTITY] = await door.identify(read_request_info(scope))

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await WebSocketSessions(speaks, door)(scope, receive, send)

    asyncio.run(converse())
    assert [each["type"] for each in sent] == ["websocket.accept", "websocket.close"]


def test_it_is_closed_once_however_long_it_takes_to_say(still: Clock, keys: MemoryKeys) -> None:
    """Two messages at the same time, while a slow hook is asked whose they are."""
    said = asyncio.Event()
    sent: Messages = []

    async def hook(_: Any) -> str | None:
        if not opened:
            return "ann"
        await said.wait()
        return None

    opened = False
    door = authenticator(auth="hook", hook=hook)

    async def speaks(_: Scope, __: Receive, send: Send) -> None:
        both: list[asyncio.Future[None]] = []
        for _number in range(2):
            still.now += websockets.PAUSE
            both.append(asyncio.ensure_future(send({"type": "websocket.send"})))
            await asyncio.sleep(0)
        said.set()
        await asyncio.gather(*both)

    async def converse() -> None:
        nonlocal opened
        scope: Scope = {"type": "websocket", "path": "/", "client": ("10.0.0.5", 1), "headers": []}
        scope[IDENTITY] = await door.identify(read_request_info(scope))
        opened = True

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await WebSocketSessions(speaks, door)(scope, None, send)  # type: ignore[arg-type]

    asyncio.run(converse())
    assert [each["type"] for each in sent] == ["websocket.close"]


def test_requests_pass_as_they_are() -> None:
    passed: list[Any] = []

    async def app(*given: Any) -> None:
        passed.append(given)

    given: Any = ({"type": "http"}, object(), object())
    asyncio.run(WebSocketSessions(app, authenticator(MemoryKeys(), auth="keys"))(*given))
    assert passed == [given]
