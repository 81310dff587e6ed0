"""What stands in front of every protocol: hosts and origins, who is asking, and errors as answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from starlette.exceptions import HTTPException

from appbuilder import errors
from appbuilder.ids import new_id
from appbuilder.logs import logger
from appbuilder.protocols import chat
from appbuilder.protocols.errors import Write, error_answer, routing_error
from appbuilder.serve.auth.hosts import PROBES
from appbuilder.serve.auth.origins import SAFE, OriginPolicy, check_request, cors_headers, preflight
from appbuilder.serve.auth.request_info import (
    ASKING,
    App,
    Receive,
    RequestInfo,
    Scope,
    Send,
    read_request_info,
)
from appbuilder.serve.http.messages import (
    ACCOUNT,
    IDENTITY,
    REQUEST_ID,
    REQUEST_ID_HEADERS,
    header_of,
    send_whole,
)
from appbuilder.serve.http.request_metrics import RequestMetricsMiddleware, ResponseObserver
from appbuilder.serve.http.state import Service, audience
from appbuilder.serve.server.signals import at_sigterm

MAX_CACHED = 1000
"""Combinations of peer, path and headers that are remembered."""
MAX_CACHED_BYTES = 4096
"""Bytes of headers; larger ones are looked at each time."""

_NOT_KEPT = (b"cache-control", b"no-store")


@dataclass(frozen=True, slots=True)
class _CheckedHeaders:
    """A request that is accepted; ``headers`` are added to its answer, ``preflight`` is all of it."""

    request_info: RequestInfo
    headers: list[tuple[bytes, bytes]]
    preflight: list[tuple[bytes, bytes]] | None


class Lifespan:
    """What is done before the first request and after the last.

    :param start: begins what goes on besides the requests.
    :param drain: takes no new turns, and returns when the running ones have ended.
    :param close: is called when nothing is served any more.
    """

    def __init__(
        self, start: Callable[[], None], drain: Callable[[], None], close: Callable[[], None]
    ) -> None:
        self.start = start
        self.drain = drain
        self.close = close
        self._draining: threading.Thread | None = None

    async def __call__(self, receive: Receive, send: Send) -> None:
        """The lifespan protocol, for servers that are not ours.

        Most of them end the lifespan only after the last request, which may be a stream without an end. So
        the drain begins at SIGTERM, where the server lets this process see it.
        """
        await receive()  # lifespan.startup
        await to_thread.run_sync(self.start)
        with at_sigterm(self._begin_drain) as seen:
            if not seen:
                logger.warning(
                    "This server runs the application outside the main thread, where SIGTERM cannot be seen: "
                    "turns that run when it stops may be cut without a mark. Use `appbuilder serve`, or a "
                    "server that runs applications in the main thread of its processes, as uvicorn does."
                )
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
            await to_thread.run_sync(self._begin_drain().join)
        await to_thread.run_sync(self.close)
        await send({"type": "lifespan.shutdown.complete"})

    def end(self) -> None:
        """Drains and closes when the process ends, for servers without the lifespan protocol."""
        if self._draining is None:
            self.drain()  # in this thread: a process that ends can start none
        else:
            self._draining.join()
        self.close()

    def _begin_drain(self) -> threading.Thread:
        """Begins the drain, once; returns its thread."""
        if self._draining is None:
            self._draining = threading.Thread(target=self.drain, name="appbuilder-drain", daemon=True)
            self._draining.start()
        return self._draining


class ServiceApp:
    """The service's ASGI application.

    :param origin_policy: which hosts and origins are let in.
    :param routes: by path, or by prefix where it ends with a slash, what answers there.
    :param page: answers everywhere else; None: nothing does.
    :param lifespan: of the service.
    :param bodies: by prefix of the path, how errors are written there; elsewhere in the SDK's envelope.
    """

    def __init__(
        self,
        service: Service,
        origin_policy: OriginPolicy,
        routes: MutableMapping[str, App],
        page: App | None,
        bodies: MutableMapping[str, Write],
        *,
        lifespan: Lifespan,
    ) -> None:
        self._service = service
        self._origin_policy = origin_policy
        self._routes = routes
        self._page = page
        self._bodies = bodies
        self.lifespan = lifespan
        # A client that keeps its connection sends the same headers again and again.
        self._checked: dict[Any, _CheckedHeaders] = {}
        self._observed = RequestMetricsMiddleware(self._http, page=page is not None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            await self._observed(scope, receive, send)
        elif kind == "websocket":
            await self._websocket(scope, receive, send)
        elif kind == "lifespan":
            await self.lifespan(receive, send)

    async def _http(self, scope: Scope, receive: Receive, answer: ResponseObserver) -> None:
        request_id = ""
        try:
            header = header_of(scope)
            request_id = scope[REQUEST_ID] = chat.request_id(header)
            admitted = self._check_access(scope)
            scope[ASKING] = admitted.request_info
            answer.more = admitted.headers
            if admitted.preflight is not None:
                await _send_preflight(answer, admitted.preflight)
                return
            # A probe must not fail because another part does, an issuer of tokens for instance.
            probed = scope["path"] in PROBES
            scope[IDENTITY] = (
                None if probed else await self._service.authenticator.identify(admitted.request_info)
            )
            await self._route_for(scope["path"])(scope, receive, answer)
        except Exception as error:
            if answer.status:
                raise
            await self._send_error(scope, answer, error, request_id or new_id())
        finally:
            if ACCOUNT in scope:
                scope[ACCOUNT].release_account()

    def _check_access(self, scope: Scope) -> _CheckedHeaders:
        """What is decided by where a request comes from and its headers alone.

        :raises Forbidden, InvalidRequest: it is refused.
        """
        client, given = scope.get("client"), tuple(scope["headers"])
        facts = (client[0] if client else None, scope["method"], scope["path"], given)
        admitted = self._checked.get(facts)
        if admitted is None:
            request_info = read_request_info(scope)
            check_request(request_info, scope, self._origin_policy)
            headers, asked = (
                cors_headers(request_info, self._origin_policy),
                preflight(request_info, scope, self._origin_policy),
            )
            admitted = _CheckedHeaders(request_info, headers, asked)
            if sum(len(name) + len(value) for name, value in given) <= MAX_CACHED_BYTES:
                if len(self._checked) >= MAX_CACHED:
                    self._checked.clear()
                self._checked[facts] = admitted
        return admitted

    def _route_for(self, path: str) -> App:
        route = self._routes.get(path) or self._routes.get(path[: path.find("/", 1) + 1])
        if route is not None:
            return route
        if self._page is not None:
            return self._page
        raise errors.NotFound("Not found.")

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            request_info = read_request_info(scope)
            check_request(request_info, scope, self._origin_policy)
            scope[IDENTITY] = await self._service.authenticator.identify(request_info)
        except errors.AppBuilderError:
            await _refuse(receive, send)
            return
        if self._page is None:
            await _refuse(receive, send)
            return
        await self._page(scope, receive, send)

    async def _send_error(self, scope: Scope, send: Send, error: Exception, request_id: str) -> None:
        path, reader = scope["path"], audience(self._service.settings, scope.get(IDENTITY))
        write = next((body for prefix, body in self._bodies.items() if path.startswith(prefix)), None)
        answer = error_answer(map_http_exception(error), request_id, audience=reader, write=write)
        headers = [(name, request_id.encode()) for name in REQUEST_ID_HEADERS]
        headers += [(name.encode(), value.encode()) for name, value in answer.headers]
        if scope["method"] in SAFE:
            headers.append(_NOT_KEPT)
        await send_whole(send, answer.body, status=answer.status, headers=headers)


def map_http_exception(error: Exception) -> Exception:
    """An error of Starlette's routing as one of the package's."""
    if not isinstance(error, HTTPException):
        return error
    return routing_error(error.status_code, error.detail, (error.headers or {}).get("Allow", "")) or error


async def _send_preflight(send: Send, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(receive: Receive, send: Send) -> None:
    await receive()  # websocket.connect; closed before it is accepted, it is answered with 403
    await send({"type": "websocket.close", "code": 1008, "reason": ""})
