"""The chat page of a service with several workers: one of them has it, the others pass on what is for it.

The page keeps what a browser looks at in its process: a live answer, files given with a message. So all its
requests go to one worker, over a socket that only this service's processes can reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from appbuilder.errors import NotFound, ServiceUnavailable
from appbuilder.protocols.body import BrokenBody
from appbuilder.serve.auth.request_info import App, Receive, Scope, Send

HEADER = b"x-appbuilder-relayed"
"""Secret and peer of a request that was passed on."""

_HOP = frozenset((b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"))
"""Headers of one connection, not of the request."""
_WRITTEN_ANEW = frozenset((b"content-length", b"date"))
"""Headers of an answer that our own server writes."""
_HANDSHAKE = frozenset(
    (
        *(b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions"),
        *(b"sec-websocket-protocol", b"host"),
    )
)
"""Headers that the client of the inner socket writes by itself; the host from its address."""
_CONNECT_TIMEOUT = 5.0


class PageProxy:
    """An ASGI application that passes requests on to the worker with the page.

    :param path: of the socket that worker listens on.
    :param secret: shows that a request was passed on by a worker.
    :param most: bytes of one message over a socket.
    """

    def __init__(self, path: str, secret: str, most: int) -> None:
        self._path = path
        self._secret = secret
        self._most = most
        self._timeout = httpx2.Timeout(None, connect=_CONNECT_TIMEOUT).as_dict()
        # Not a client: that would keep one visitor's cookies and send them for another, and add headers.
        self._transport = httpx2.AsyncHTTPTransport(uds=path, limits=httpx2.Limits(max_connections=None))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes one request, or one socket, on.

        :raises ServiceUnavailable: the worker with the page is not there (yet).
        :raises NotFound: the path cannot be one of the page's.
        """
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._request(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._transport.handle_async_request(self._passed_on(scope, receive))
        except httpx2.InvalidURL:
            raise NotFound("Not found.") from None
        except httpx2.TransportError:
            raise ServiceUnavailable("The chat page is starting; try again in a moment.") from None
        try:
            told = [(name.lower(), value) for name, value in response.headers.raw]
            kept = [each for each in told if each[0] not in _HOP | _WRITTEN_ANEW]
            await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
            async for part in response.aiter_raw():
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await response.aclose()

    def _passed_on(self, scope: Scope, receive: Receive) -> httpx2.Request:
        """:raises httpx2.InvalidURL: the path is not valid."""
        return httpx2.Request(
            scope["method"],
            _url("http", scope),
            headers=self._headers(scope, _HOP),
            content=_body(receive) if _has_body(scope) else None,
            extensions={"timeout": self._timeout},
        )

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        passed = self._headers(scope, _HOP | _HANDSHAKE)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in passed]
        try:
            inner = await unix_connect(
                self._path,
                _url("ws", scope, _host(scope)),
                additional_headers=headers,
                user_agent_header=None,
                compression=None,
                max_size=self._most,
                open_timeout=_CONNECT_TIMEOUT,
                ping_interval=None,
            )
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ValueError):
            # A ValueError is of the client's Host header, which may be anything.
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        await send({"type": "websocket.accept"})
        async with inner:
            await _between(inner, receive, send)

    def _headers(self, scope: Scope, left_out: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
        client = scope.get("client")
        passed = f"{self._secret} {client[0] if client else ''} {scope['scheme']}".encode()
        kept = [(name, value) for name, value in scope["headers"] if name not in left_out and name != HEADER]
        return [*kept, (HEADER, passed)]


async def _between(inner: ClientConnection, receive: Receive, send: Send) -> None:
    """Passes messages both ways until either side closes."""

    async def to_page() -> None:
        while (message := await receive())["type"] == "websocket.receive":
            text = message.get("text")
            await inner.send(message["bytes"] if text is None else text)

    async def to_client() -> None:
        async for data in inner:
            kind = "text" if isinstance(data, str) else "bytes"
            await send({"type": "websocket.send", kind: data})

    ways = {asyncio.ensure_future(to_page()), asyncio.ensure_future(to_client())}
    _, others = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    for other in others:
        other.cancel()
    for way in ways:
        with contextlib.suppress(asyncio.CancelledError, ConnectionClosed, OSError):
            await way
    with contextlib.suppress(RuntimeError, OSError):  # it was the outer side that closed
        await send({"type": "websocket.close", "code": inner.close_code or 1001, "reason": ""})


class TrustedProxy:
    """The application of the worker with the page: sees what was passed on as it came to the service."""

    def __init__(self, app: App, secret: str) -> None:
        self._app = app
        self._secret = secret.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            self._restore(scope)
        await self._app(scope, receive, send)

    def _restore(self, scope: Scope) -> None:
        passed = [value for name, value in scope["headers"] if name == HEADER]
        if not passed:
            return
        scope["headers"] = [each for each in scope["headers"] if each[0] != HEADER]
        secret, _, rest = passed[0].partition(b" ")
        if len(passed) == 1 and hmac.compare_digest(secret, self._secret):
            peer, _, scheme = rest.decode("latin-1").partition(" ")
            scope["client"] = (peer, 0) if peer else None
            scope["scheme"] = scheme


def _url(scheme: str, scope: Scope, host: str = "page") -> str:
    query = scope["query_string"].decode("latin-1")
    path = scope["raw_path"].decode("latin-1")
    return f"{scheme}://{host}{path}" + (f"?{query}" if query else "")


def _host(scope: Scope) -> str:
    given = [value for name, value in scope["headers"] if name == b"host"]
    return str(given[0].decode("latin-1")) if given else "page"


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    """:raises BrokenBody: the client broke it off; what there is of it must not pass for all of it."""
    more = True
    while more:
        message: Any = await receive()
        if message["type"] != "http.request":
            raise BrokenBody("The body was broken off.")
        more = message.get("more_body", False)
        if message.get("body"):
            yield message["body"]
