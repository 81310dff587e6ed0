"""Puts the service together: every protocol on one port."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute, Router

from appbuilder.errors import NotFound
from appbuilder.protocols.errors import Write
from appbuilder.serve import admin
from appbuilder.serve.auth.hosts import PROBES
from appbuilder.serve.auth.origins import OriginPolicy
from appbuilder.serve.auth.request_info import App, Receive, Scope, Send
from appbuilder.serve.http.messages import CHAT
from appbuilder.serve.http.service_app import Lifespan, ServiceApp
from appbuilder.serve.http.state import Service
from appbuilder.serve.routes import metrics, openai, runs, sessions, status
from appbuilder.serve.routes.chat_route import ChatEndpoint

GROUPS = (status, metrics, openai, sessions, runs, admin)
"""Modules with a function ``routes``."""

BODIES: dict[str, Write] = {"/v1/": openai.error_body}
"""How errors are written under a prefix, where not in the SDK's envelope."""

_PLACES = (
    *PROBES,
    *("/metrics", "/openapi.json", "/docs"),
    *("/v1/", "/sessions", "/sessions/", "/runs", "/runs/", "/admin", "/admin/"),
)


def create_app(
    service: Service, *, origin_policy: OriginPolicy, page: App | None, lifespan: Lifespan
) -> ServiceApp:
    """The service as an ASGI application.

    :param origin_policy: which hosts and origins are let in.
    :param page: the chat page; None: there is no page.
    """
    router = _Routed(route for group in GROUPS for route in group.routes(service))
    routes: dict[str, App] = dict.fromkeys(_PLACES, router)
    routes[CHAT] = ChatEndpoint(service)
    return ServiceApp(service, origin_policy, routes, page, BODIES, lifespan=lifespan)


class _Routed:
    """Starlette's router; what it does not find is an error of this package."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._router = Router(list(routes), redirect_slashes=False, default=_nothing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self  # so that the router raises its errors and does not write them
        await self._router(scope, receive, send)


async def _nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise NotFound("Not found.")
