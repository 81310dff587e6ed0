"""What stands in front of Chainlit's application: who comes in, which routes there are, what goes out.

Chainlit's routes for files, elements, actions, MCP, other channels and other ways to log in are not reached.
Its application gets each request with one cookie only: a token for who is asking, made here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import Response

from appbuilder.core.context import context_var
from appbuilder.errors import AppBuilderError, Forbidden, MethodNotAllowed, NotFound, Unauthenticated
from appbuilder.serve.auth.page_identity import PageContext
from appbuilder.serve.auth.request_info import (
    App,
    Identity,
    Receive,
    RequestInfo,
    Scope,
    Send,
    read_request_info,
)
from appbuilder.serve.auth.signed_cookies import VISITOR_DAYS, LocalPageAuth
from appbuilder.serve.page.page_requests import (
    LOGIN_OF_SCOPE,
    MOST_BODY,
    MOST_UPLOAD,
    SOCKET,
    bounded,
    failed,
    most_of_socket,
    same_origin,
)
from appbuilder.serve.page.page_routes import Routes, set_cookie

Token = Callable[[Identity], str]
"""Makes the token by which Chainlit knows a caller, for one request."""

Passed = Sequence[tuple[re.Pattern[str], Collection[str]]]

TOKEN_COOKIE = "access_token"  # noqa: S105 - a name

# Chainlit's routes that the page uses, and with which methods.
_PASSED = (
    (re.compile(r"/assets/[\w.-]{1,200}"), {"GET", "HEAD"}),
    (re.compile(r"/ws/socket\.io/?"), {"GET", "POST"}),
    (re.compile(r"/user"), {"GET"}),
    (re.compile(r"/set-session-cookie"), {"POST"}),
    (re.compile(r"/project/(translations|settings)"), {"GET"}),
    (re.compile(r"/project/threads"), {"POST"}),
    (re.compile(r"/project/thread"), {"PUT", "DELETE"}),
    (re.compile(r"/project/thread/[^/]+"), {"GET"}),
    (re.compile(r"/feedback"), {"PUT", "DELETE"}),
)
# Further ones of a page that takes files.
UPLOAD = "/project/file"
_FILES = ((re.compile(UPLOAD), {"POST"}), (re.compile(UPLOAD + r"/[0-9a-f-]{36}"), {"GET"}))
_FORM = 64 * 1024
"""Bytes of a form around its file."""


class Shell:
    """The page's ASGI application.

    :param inner: Chainlit's.
    :param policy: the Content-Security-Policy.
    :param limit: bytes of a message as JSON.
    :param check_room: says whether a browser's page, by Chainlit's session id, may give one file more, by
        raising if not; None: the page takes no files.
    """

    def __init__(
        self,
        inner: App,
        gate: LocalPageAuth,
        routes: Routes,
        token: Token,
        policy: str,
        *,
        check_room: Callable[[str], None] | None = None,
        limit: int = MOST_BODY,
    ) -> None:
        self._inner = inner
        self._gate = gate
        self._routes = routes
        self._token = token
        self._headers = _security_headers(policy)
        self._file_headers = {**self._headers, **_FILE_HEADERS}
        self._check_room = check_room
        self._limit = limit
        self._passed = _PASSED if check_room is None else (*_PASSED, *_FILES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            return
        request_info = read_request_info(scope)
        identity: Identity | None = None
        decorated = self._decorated(scope, send, identity)
        try:
            identity = await self._gate.who(scope, request_info)
            decorated = self._decorated(scope, send, identity)
            if not same_origin(scope, request_info):
                raise Forbidden("This request comes from another site's page.")
            response = await self._own(scope, receive, request_info, identity)
            if response is None:
                _check(scope, identity, self._passed)
                self._enter(scope, request_info, identity)
                await self._inner(scope, bounded(receive, self._most(scope)), decorated)
                return
        except AppBuilderError as error:
            if scope["type"] == "websocket":
                await _close(receive, send)
                return
            response = failed(error)
        await response(scope, receive, decorated)

    async def _own(
        self, scope: Scope, receive: Receive, request_info: RequestInfo, identity: Identity | None
    ) -> Response | None:
        if scope["type"] == "websocket":
            return None
        return await self._routes.answer(scope, receive, request_info, identity)

    def _most(self, scope: Scope) -> int:
        """How many bytes the request may have."""
        if scope["path"].startswith(SOCKET):
            return most_of_socket(self._limit)
        if scope["path"] != UPLOAD or self._check_room is None:
            return MOST_BODY
        named = parse_qs(scope["query_string"].decode("latin-1")).get("session_id", [""])
        self._check_room(named[0])
        return MOST_UPLOAD + _FORM

    def _enter(self, scope: Scope, request_info: RequestInfo, identity: Identity | None) -> None:
        """Leaves of the client's headers what Chainlit may see, and says who is asking."""
        hidden = {b"cookie", b"authorization"}
        kept = [(name, value) for name, value in scope["headers"] if name not in hidden]
        if identity is not None:
            kept.append((b"cookie", f"{TOKEN_COOKIE}={self._token(identity)}".encode()))
            context_var.set(PageContext(identity, request_info.language))
            scope[LOGIN_OF_SCOPE] = identity.login
        scope["headers"] = kept

    def _decorated(self, scope: Scope, send: Send, identity: Identity | None) -> Send:
        ours = self._file_headers if scope["path"].startswith(UPLOAD + "/") else self._headers

        async def decorated(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = [each for each in message.get("headers", ()) if each[0] not in ours]
                headers += ours.items()
                headers += _caching(scope["path"], message["status"], headers)
                if identity is not None and identity.cookie:
                    headers += self._cookie(scope, identity)
                message["headers"] = headers
            await send(message)

        return decorated

    def _cookie(self, scope: Scope, identity: Identity) -> list[tuple[bytes, bytes]]:
        response = Response()
        set_cookie(scope, response, self._gate.cookie_name, identity.cookie, VISITOR_DAYS)
        return [each for each in response.raw_headers if each[0] == b"set-cookie"]


def _check(scope: Scope, identity: Identity | None, passed: Passed) -> None:
    """:raises NotFound, MethodNotAllowed: Chainlit has nothing there that the page uses.
    :raises Unauthenticated: a socket is for those we know.
    """
    path, method = scope["path"], scope.get("method", "GET")
    for pattern, methods in passed:
        if pattern.fullmatch(path):
            if method in methods:
                if identity is None and path.startswith(SOCKET):
                    raise Unauthenticated("Log in first.")
                return
            raise MethodNotAllowed(f"{method} is not allowed here.", ", ".join(sorted(methods)))
    raise NotFound("Not found.")


async def _close(receive: Receive, send: Send) -> None:
    await receive()  # websocket.connect; closed before it is accepted, it is answered with 403
    await send({"type": "websocket.close", "code": 1008, "reason": ""})


def _caching(path: str, status: int, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    if path.startswith("/assets/") and status == 200:
        # Their names change with what is in them.
        return [(b"cache-control", b"public, max-age=31536000, immutable")]
    if any(name == b"cache-control" for name, _ in headers):
        return []
    return [(b"cache-control", b"no-store")]


# What users gave is shown as an image at most, never as a page of this package.
_FILE_HEADERS = {
    b"content-security-policy": b"default-src 'none'; sandbox",
    b"content-disposition": b"attachment",
}


def _security_headers(policy: str) -> dict[bytes, bytes]:
    return {
        b"content-security-policy": policy.encode(),
        b"x-content-type-options": b"nosniff",
        b"x-frame-options": b"DENY",
        b"referrer-policy": b"no-referrer",
        b"cross-origin-resource-policy": b"same-origin",
        b"permissions-policy": b"camera=(), geolocation=(), microphone=(), payment=()",
    }
