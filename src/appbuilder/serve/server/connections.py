"""Connections of the service's own server: slow senders, stuck readers and endless headers are cut.

uvicorn has a deadline for idle kept connections only. Looking at all connections once a second costs a
request nothing, where a timer each would be a tenth of an echo.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, MutableMapping
from itertools import chain
from typing import Any, cast

from uvicorn.protocols.http.flow_control import service_unavailable

from appbuilder.errors import Overloaded
from appbuilder.ids import new_id
from appbuilder.protocols.errors import envelope, to_problem
from appbuilder.protocols.openai import error_body
from appbuilder.serve.auth.request_info import App, Receive, Scope, Send
from appbuilder.serve.http.messages import REQUEST_ID_HEADERS, send_whole
from appbuilder.serve.server.http11 import Http11Protocol
from appbuilder.serve.server.lingering_close import LingeringClose
from appbuilder.serve.server.uvicorn_thread import Server
from appbuilder.serve.server.write_coalescing import WriteCoalescer

MOST_HEADERS = 64 * 1024
"""Bytes of a request's line and headers."""
MOST_FIELDS = 200
"""Headers of a request."""
_TICKS = 10
"""Of uvicorn's ticks a second."""
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 22\r\nconnection: close\r\n\r\n"
    b"The headers are large."
)


class Connection(Http11Protocol):
    """One connection, which knows how long it has been waiting for its client."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(cast(asyncio.Transport, WriteCoalescer(transport, self.loop, self._end)))
        self._asked_since: float | None = self.loop.time()
        self._in_head = True
        self._without_body = 0
        self._refused = False
        self._unread = (0, 0.0)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        # What arrives without a byte of body is a head, or the extensions and trailers of chunks: the parser
        # keeps what it has of a field, however long it gets.
        self._without_body = len(data) + (0 if self._asked_since is None else self._without_body)
        super().data_received(data)
        if self._asked_since is not None and self._without_body > MOST_HEADERS:
            self._refuse_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._asked_since = self.loop.time()
        self._in_head = True

    def on_headers_complete(self) -> None:
        self._in_head = False
        if len(self.headers) > MOST_FIELDS:
            raise ValueError("too many headers")  # for uvicorn a request that is not valid
        if len(self.url) + sum(map(len, chain.from_iterable(self.headers))) > MOST_HEADERS:
            self._refuse_headers()
            raise ValueError("large headers")
        super().on_headers_complete()
        # uvicorn's own list is added to by trailers, which must not be taken for headers (RFC 9110, 6.5.1).
        self.scope["headers"] = list(self.headers)

    def on_body(self, body: bytes) -> None:
        self._without_body = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        if not self._refused:
            super().send_400_response(msg)

    def _refuse_headers(self) -> None:
        if self._refused:
            return
        self._refused = True
        if self._in_head or self.cycle is None or not self.cycle.response_started:
            self.transport.write(_TOO_LARGE)
        self.transport.close()

    def eof_received(self) -> None:
        if self._asked_since is not None and not self._in_head and not self.cycle.response_started:
            self.send_400_response("The body was broken off.")

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        ours: Any = _too_many if app is service_unavailable else app
        if cycle.scope["http_version"] == "1.0":
            ours = _without_chunks(cycle, ours)
        super()._start_asgi_task(cycle, ours)

    def on_message_complete(self) -> None:
        self._asked_since = None
        super().on_message_complete()

    def _end(self, transport: asyncio.Transport) -> None:
        """Closes after an answer; full of connections, the service waits for none of them."""
        self.flow.resume_reading()
        if self._asked_since is None or len(self.connections) >= (self.limit_concurrency or 0):
            transport.close()
        else:
            LingeringClose(self, transport, self.loop)

    def check(self, now: float, most_sending: float, most_unread: float) -> None:
        """Cuts the connection if its client is too slow.

        :param now: of the loop's clock, like all times here in seconds.
        :param most_sending: for a request to arrive whole.
        :param most_unread: for something to be read of what was written.
        """
        if self._asked_since is not None and now - self._asked_since > most_sending:
            self.transport.abort()
            return
        waiting = self.transport.get_write_buffer_size()
        if not waiting or waiting != self._unread[0]:
            self._unread = (waiting, now)
        elif now - self._unread[1] > most_unread:
            self.transport.abort()


def _without_chunks(cycle: Any, app: App) -> App:
    """*app*, where the end of the connection ends a body whose length is not known.

    HTTP/1.0 knows no chunks (RFC 9112, section 6.1), and uvicorn keeps none of its connections.
    """

    until_end = False

    async def sending(message: MutableMapping[str, Any], send: Send) -> None:
        nonlocal until_end
        if message["type"] == "http.response.start":
            until_end = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
            cycle.chunked_encoding = False if until_end else None
        elif until_end:
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, lambda message: sending(message, send))

    return answering


async def _too_many(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers where there are more connections than the service takes."""
    error = Overloaded("The service has too many connections; try again in a moment.", retry_after=1)
    full, request_id = to_problem(error), new_id()
    headers = [(name, request_id.encode()) for name in REQUEST_ID_HEADERS]
    headers += [(b"retry-after", str(full.retry_after).encode()), (b"connection", b"close")]
    of_openai = scope["path"].startswith("/v1/")
    told = error_body.body(full, error, request_id) if of_openai else envelope(full, request_id)
    await send_whole(send, told, status=full.status, headers=headers)


class WatchingServer(Server):
    """uvicorn's server, which looks at its connections once a second."""

    most_sending = 30.0
    most_unread = 60.0

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._handshakes: dict[Any, float] = {}

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS == 0 and self.started:
            now = asyncio.get_running_loop().time()
            sockets = []
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.check(now, self.most_sending, self.most_unread)
                else:
                    sockets.append(connection)
            self._check_handshakes(sockets, now)
        return await super().on_tick(counter)

    def _check_handshakes(self, sockets: Iterable[Any], now: float) -> None:
        """Cuts WebSockets that do not come to be: uvicorn answers no handshake that it cannot read.

        Those without ``handshake_complete``, of older releases, have a deadline of their own.
        """
        unfinished = [each for each in sockets if not getattr(each, "handshake_complete", True)]
        self._handshakes = {each: self._handshakes.get(each, now) for each in unfinished}
        for each, since in self._handshakes.items():
            if now - since > self.most_sending:
                each.transport.abort()


def watching(most_sending: float, most_unread: float) -> type[WatchingServer]:
    """The kind of server that cuts after so many seconds."""
    return type("Server", (WatchingServer,), {"most_sending": most_sending, "most_unread": most_unread})
