"""Requests and sockets of the page that a worker passes on to the one that has it."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from appbuilder.errors import NotFound
from appbuilder.serve.server.page_proxy import PageProxy


def scope(kind: str, host: bytes, path: bytes) -> dict[str, Any]:
    return {
        "type": kind, "method": "GET", "scheme": "http", "raw_path": path, "query_string": b"EIO=4",
        "headers": [(b"host", host)], "client": ("10.0.0.5", 1),
    }


def opened(relay: PageProxy, host: bytes, path: bytes = b"/ws/socket.io/") -> list[str]:
    """The kinds of messages that a client gets who opens a socket."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(relay(scope("websocket", host, path), receive, send))
    return [message["type"] for message in sent]


@pytest.mark.parametrize(
    "host", [b"a:99999999", b"a:b", b"[bad", b"[::1]x", b"", b"u@a", b"a\xe9\xff..b", b"a#b"]
)
def test_a_host_that_is_none_opens_no_socket(host: bytes, tmp_path: Path) -> None:
    assert opened(PageProxy(str(tmp_path / "nobody"), "secret", 1000), host) == ["websocket.close"]


@pytest.mark.parametrize("path", [b":99999999", b"/%zz", b"*", b"", b"[", b"/\xe9#"])
def test_a_path_that_is_none_opens_no_socket(path: bytes, tmp_path: Path) -> None:
    assert opened(PageProxy(str(tmp_path / "nobody"), "secret", 1000), b"a", path) == ["websocket.close"]


@pytest.mark.parametrize("path", [b"/\x7f", b"/\x01", b"/" + b"a" * 70_000])
def test_at_a_path_that_is_none_there_is_nothing(path: bytes, tmp_path: Path) -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError("nothing is read or sent")

    with pytest.raises(NotFound):
        asyncio.run(
            PageProxy(str(tmp_path / "nobody"), "secret", 1000)(scope("http", b"a", path), never, never)
        )
