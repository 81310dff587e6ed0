"""Whether the service is there and ready, and what it can do: /health, /ready, /openapi.json, /docs."""

from __future__ import annotations

from functools import lru_cache

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from appbuilder import errors, jsontext
from appbuilder.protocols.body import JSON
from appbuilder.protocols.openapi import documents
from appbuilder.serve.auth.hosts import listed
from appbuilder.serve.http.messages import reply
from appbuilder.serve.http.readiness import Readiness
from appbuilder.serve.http.state import Service
from appbuilder.serve.http.thread_pools import PROBES
from appbuilder.serve.routes.api_docs import render_page

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
_OK = {"code": 0, "message": "", "result": {"status": "ok"}}


def routes(service: Service) -> list[BaseRoute]:
    """The routes; anybody may ask them."""
    document = documents.service_document(service.name)
    text = jsontext.dumps(document)
    with_keys = service.keys is not None and "keys" in listed(service.settings.auth.lower())

    def check(timeout: float) -> None:
        service.store.check_writable(timeout)
        if with_keys and service.keys is not None:
            service.keys.check()  # no turn begins where its caller's key cannot be found

    readiness = Readiness(check, lambda: service.store.failures)

    async def health(_: Request) -> Response:
        """The process answers, and takes new turns."""
        if service.engine().draining:
            raise errors.Draining("The service is shutting down.", retry_after=2)
        return reply(_OK)

    async def ready(request: Request) -> Response:
        """As /health, and a turn could be stored."""
        answer = await health(request)
        await readiness.check()
        return answer

    async def openapi_json(_: Request) -> Response:
        return Response(text, media_type=JSON)

    @lru_cache(maxsize=8)
    def rendered(address: str) -> str:
        return render_page(document, address)

    async def docs(request: Request) -> Response:
        html = await PROBES.run(rendered, str(request.base_url).rstrip("/"))
        return HTMLResponse(html, headers={"Content-Security-Policy": _POLICY})

    return [
        Route("/health", health),
        Route("/ready", ready),
        Route("/openapi.json", openapi_json),
        Route("/docs", docs),
    ]
