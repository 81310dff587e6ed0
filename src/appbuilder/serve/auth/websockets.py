"""Who opened a WebSocket is asked for again while it is open: it may outlive a key, or a token."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from appbuilder import clock
from appbuilder.errors import RequestError, ServiceUnavailable
from appbuilder.serve.auth.authenticator import FRESH, Authenticator
from appbuilder.serve.auth.request_info import App, Identity, Receive, Scope, Send, read_request_info
from appbuilder.serve.http.messages import IDENTITY

PAUSE = FRESH
"""Seconds for which an answer holds; with those of the authenticator's cache the bound on a revoked key."""
_POLICY_VIOLATION = 1008


class WebSocketSessions:
    """Closes a WebSocket of *app* at the next message, either way, once its user is not known any more."""

    def __init__(self, app: App, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        watch = _WebSocketSession(self._authenticator, scope)

        async def watched_receive() -> MutableMapping[str, Any]:
            message = await receive()
            if message["type"] == "websocket.receive" and not await watch.holds(send):
                return {"type": "websocket.disconnect", "code": _POLICY_VIOLATION}
            return message

        async def watched_send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "websocket.accept" or await watch.holds(send):
                await send(message)

        await self._app(scope, watched_receive, watched_send)


class _WebSocketSession:
    def __init__(self, authenticator: Authenticator, scope: Scope) -> None:
        self._authenticator = authenticator
        self._asking = read_request_info(scope)  # the application behind changes the scope
        self._identity: Identity | None = scope[IDENTITY]
        self._asked_at = clock.monotonic()
        self._ended = False

    async def holds(self, send: Send) -> bool:
        """Whether the socket may go on; if not, it is closed."""
        if not self._ended and self._asked_at + PAUSE <= clock.monotonic():
            self._asked_at = clock.monotonic()
            if await self._found() != self._identity and not self._ended:
                self._ended = True
                await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": ""})
        return not self._ended

    async def _found(self) -> Identity | None:
        try:
            return await self._authenticator.identify(self._asking)
        except ServiceUnavailable:
            return self._identity  # no one can say; asked again soon
        except RequestError:
            return None
