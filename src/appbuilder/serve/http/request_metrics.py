"""Sees every request to its end: one line in the log, one count, one span."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from appbuilder import clock, telemetry, tracing
from appbuilder.logs import access
from appbuilder.protocols import sse
from appbuilder.serve.auth.hosts import PROBES
from appbuilder.serve.auth.request_info import Receive, Scope, Send
from appbuilder.serve.http.messages import CHAT, REQUEST_ID

if TYPE_CHECKING:
    from opentelemetry.trace import Span

LEFT = 499
"""The status of a request whose client left before its answer began, as nginx writes it."""

_QUIET = PROBES | {"/metrics"}
"""Asked every few seconds by machines: counted, but neither traced nor, above DEBUG, written down."""
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_EVENTS = sse.CONTENT_TYPE.encode()


Inner = Callable[[Scope, Receive, "ResponseObserver"], Awaitable[None]]


class RequestMetricsMiddleware:
    """An ASGI application in front of *app*, for HTTP alone.

    :param page: whether paths that no route has are the chat page's.
    """

    def __init__(self, app: Inner, *, page: bool) -> None:
        self._app = app
        self._elsewhere = "page" if page else "none"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request as *app* does."""
        answer = ResponseObserver(send)
        span = _begin_span(scope)
        current: AbstractContextManager[Any] = nullcontext() if span is None else tracing.current(span)
        try:
            with current:
                await self._app(scope, receive, answer)
        except Exception:
            answer.status = answer.status or 500  # by the server, which writes it where nothing was sent
            raise
        finally:
            self._record(scope, answer, span)

    def _record(self, scope: Scope, answer: ResponseObserver, span: Span | None) -> None:
        seconds, status = clock.monotonic() - answer.began, answer.status or LEFT
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        route, sink = self._route(scope), telemetry.current
        if answer.streams:
            sink.stream(-1)
        sink.request(route, method, status, seconds)
        level = logging.DEBUG if route in _QUIET else logging.INFO
        if access.isEnabledFor(level):
            milliseconds = round(seconds * 1000, 1)
            ids = {"request_id": scope.get(REQUEST_ID), **(tracing.ids(span) if span is not None else {})}
            facts = {"method": method, "route": route, "status": status, "milliseconds": milliseconds}
            access.log(level, "%s %s %d %.1f ms", method, route, status, milliseconds, extra=ids | facts)
        if span is not None:
            span.update_name(f"{method} {route}")
            attributes = {"http.route": route, "http.response.status_code": status}
            tracing.end(span, str(status) if status >= 500 else None, attributes)

    def _route(self, scope: Scope) -> str:
        """The route's template; never the path, which may hold ids."""
        found = getattr(scope.get("route"), "path", None)
        if isinstance(found, str):
            return found
        return CHAT if scope["path"] == CHAT else self._elsewhere


class ResponseObserver:
    """Passes an answer on, and knows its status, whether it streams, and when its last pieces went out.

    ``more`` are headers it is given on its way; ``status`` is 0 until it has begun.
    """

    __slots__ = ("_last", "_send", "began", "more", "status", "streams")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._last: float | None = None
        self.began = clock.monotonic()
        self.more: list[tuple[bytes, bytes]] = []
        self.status = 0
        self.streams = False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if self.streams:
            if message.get("body") != sse.COMMENT:
                self._pieces()
        elif message["type"] == "http.response.start":
            self._started(message)
        await self._send(message)

    def _started(self, message: MutableMapping[str, Any]) -> None:
        self.status = message["status"]
        if self.more:
            message["headers"] = [*message.get("headers", ()), *self.more]
        if (b"content-type", _EVENTS) in message.get("headers", ()):
            self.streams = True
            telemetry.current.stream(1)

    def _pieces(self) -> None:
        now = clock.monotonic()
        if self._last is not None:
            telemetry.current.gap(now - self._last)
        self._last = now


def _begin_span(scope: Scope) -> Span | None:
    if tracing.tracer() is None or scope["path"] in _QUIET:
        return None
    method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
    attributes = {
        "http.request.method": method,
        "url.path": scope["path"],
        "url.scheme": scope.get("scheme", "http"),
        "network.protocol.version": scope.get("http_version", "1.1"),
    }
    server = scope.get("server")
    if server:
        attributes |= {"server.address": server[0]} | ({"server.port": server[1]} if server[1] else {})
    return tracing.begin(method, "server", attributes, context=tracing.caller(scope["headers"]))
