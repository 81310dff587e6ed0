"""Routes whose paths may hold anything: a session's id is whatever a client has chosen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from appbuilder.errors import InvalidRequest, MethodNotAllowed
from appbuilder.serve.auth.request_info import Scope

Endpoint = Callable[[Request], Awaitable[Response]]


def at(path: str, **endpoints: Endpoint) -> SentRoute:
    """A route with an endpoint for each method; HEAD is answered as GET is, and others get 405.

    :param path: with names in braces for parts of it, which come to the endpoints decoded. Servers decode a
        path before an application sees it, and ``a%2Fb`` is then no different from ``a/b``; here it is.
    """

    allowed = ", ".join(sorted({*endpoints, *(["HEAD"] if "GET" in endpoints else [])}))

    async def endpoint(request: Request) -> Response:
        found = endpoints.get("GET" if request.method == "HEAD" else request.method)
        if found is None:
            raise MethodNotAllowed("Method not allowed.", allowed)
        return await found(request)

    return SentRoute(path, endpoint, list(endpoints))


class SentRoute(Route):
    """Matches the path as it was sent, whatever the method; *taken* are those it has an endpoint for."""

    def __init__(self, path: str, endpoint: Endpoint, taken: Sequence[str]) -> None:
        super().__init__(path, endpoint)
        self.methods = None
        self.taken = taken

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        match, found = super().matches({**scope, "path": _sent(scope)})
        if match is not Match.NONE:
            found["path_params"] = {name: _decoded(part) for name, part in found["path_params"].items()}
        return match, found


def _sent(scope: Scope) -> str:
    raw: Any = scope.get("raw_path")
    return quote(scope["path"]) if raw is None else raw.decode("latin-1")


def _decoded(part: Any) -> str:
    """:raises InvalidRequest: it is not UTF-8."""
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise InvalidRequest("The path is not UTF-8.") from None
