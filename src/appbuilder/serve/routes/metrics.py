"""GET /metrics for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from appbuilder import telemetry
from appbuilder.errors import Forbidden
from appbuilder.fork_safe import ForkSafe
from appbuilder.serve.auth.request_info import read_request_info
from appbuilder.serve.http.messages import NOT_KEPT, caller
from appbuilder.serve.http.state import Service
from appbuilder.serve.http.thread_pools import PROBES

if TYPE_CHECKING:
    from appbuilder.serve.server.prometheus_sink import Exposition


def routes(service: Service) -> list[BaseRoute]:
    """The route, if the settings want it; with it the process begins to count.

    With authentication on, /metrics is for administrators and for who asks from this machine.
    """
    if not service.settings.metrics:
        return []
    numbers = _numbers.get()
    telemetry.report_to(numbers.sink)

    async def metrics(request: Request) -> Response:
        """The metrics, in the text format of Prometheus."""
        if service.settings.auth and not read_request_info(request.scope).is_local:
            _check_administrator(request)
        body, content_type = await PROBES.run(numbers.written, request.headers.get("accept", ""))
        return Response(body, headers={**NOT_KEPT, "Content-Type": content_type})

    return [Route("/metrics", metrics)]


def _check_administrator(request: Request) -> None:
    if not caller(request).sees_all_others:
        raise Forbidden("The metrics are for administrators, and for programs on this machine.")


def _make() -> Exposition:
    from appbuilder.serve.server.prometheus_sink import Exposition

    return Exposition()


_numbers = ForkSafe(_make)
