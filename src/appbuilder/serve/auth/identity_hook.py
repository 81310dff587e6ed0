"""A function of the program's own that tells whose a request is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers

from appbuilder.errors import ConfigurationError
from appbuilder.serve.auth.origins import cookies_allowed
from appbuilder.serve.auth.request_info import RequestInfo, user_name
from appbuilder.serve.http.user_hooks import HookThreads, call_hook


@dataclass(frozen=True, slots=True)
class HookRequest:
    """A request, as a hook gets it.

    :param headers: by name in any case; ``getlist(name)`` gives all of one name.
    :param peer: the address it comes from; of a proxy's requests the proxy's.
    :param cookies: empty where another site's page asks.
    :param method: ``GET`` for a WebSocket.
    """

    headers: Headers = field(repr=False)
    peer: str
    cookies: Mapping[str, str] = field(repr=False)
    path: str
    method: str


@dataclass(frozen=True, slots=True)
class HookUser:
    """Whom a hook found; a hook may return this, a name, or a pair of both.

    :param administrator: he sees everybody's sessions.
    """

    name: str
    administrator: bool = False


Hook = Callable[[HookRequest], Any]
"""Returns a name, a :class:`HookUser`, a pair (name, administrator), None where it does not know the
caller, or an
awaitable of these; it may raise errors of :mod:`appbuilder.errors`."""


async def ask(hook: Hook, request_info: RequestInfo, threads: HookThreads) -> HookUser | None:
    """Whom *hook* finds, in one of *threads* if it is synchronous.

    :raises ServiceUnavailable: it failed, or took too long.
    :raises ConfigurationError: it returned something else.
    :raises AppBuilderError: what it raised.
    """
    return _user(await call_hook(threads, "APPBUILDER_AUTH_HOOK", hook, _request(request_info)))


def _request(request_info: RequestInfo) -> HookRequest:
    own = cookies_allowed(request_info)
    kept = [(name, value) for name, value in request_info.headers if own or name != "cookie"]
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in kept]
    return HookRequest(
        Headers(raw=raw),
        request_info.peer,
        dict(request_info.cookies) if own else {},
        request_info.path,
        request_info.method,
    )


def _user(found: Any) -> HookUser | None:
    if found is None or isinstance(found, str):
        given = HookUser(found) if found is not None else None
    elif isinstance(found, tuple) and len(found) == 2:
        given = HookUser(*found)
    else:
        given = HookUser(getattr(found, "name", ""), getattr(found, "administrator", None) or False)
    if given is None:
        return None
    if user_name(given.name) is None or not isinstance(given.administrator, bool):
        raise ConfigurationError(
            "The function of APPBUILDER_AUTH_HOOK must return a name of at most 256 printable characters, "
            "(name, administrator), or None."
        )
    return given
