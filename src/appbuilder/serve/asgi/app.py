"""Puts the service together: every door on one port."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute, Router

from appbuilder.errors import NotFound
from appbuilder.serve.asgi import admin, metrics, openai, runs, sessions, status
from appbuilder.serve.asgi.auth.hosts import PROBES
from appbuilder.serve.asgi.auth.origins import Rules
from appbuilder.serve.asgi.chat import ChatEndpoint
from appbuilder.serve.asgi.front import Body, Front, Lifespan
from appbuilder.serve.asgi.http import CHAT
from appbuilder.serve.asgi.service import Service
from appbuilder.serve.asking import App, Receive, Scope, Send

GROUPS = (status, metrics, openai, sessions, runs, admin)
"""Modules with a function ``routes``."""

BODIES: dict[str, Body] = {"/v1/": openai.error_body}
"""How errors are told under a prefix, where not in the seeds' envelope."""

_PLACES = (
    *PROBES,
    *("/metrics", "/openapi.json", "/docs"),
    *("/v1/", "/sessions", "/sessions/", "/runs", "/runs/", "/admin", "/admin/"),
)


def create_app(service: Service, *, rules: Rules, page: App | None, lifespan: Lifespan) -> Front:
    """The service as an ASGI application.

    :param rules: which hosts and origins are let in.
    :param page: the chat page; None: there is none.
    """
    router = _Routed(route for group in GROUPS for route in group.routes(service))
    doors: dict[str, App] = dict.fromkeys(_PLACES, router)
    doors[CHAT] = ChatEndpoint(service)
    return Front(service, rules, doors, page, BODIES, lifespan=lifespan)


class _Routed:
    """Starlette's router; what it does not find is an error of ours."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._router = Router(list(routes), redirect_slashes=False, default=_nothing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self  # so that the router raises its errors and does not write them
        await self._router(scope, receive, send)


async def _nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise NotFound("There is nothing at this address.")
