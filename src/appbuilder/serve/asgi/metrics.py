"""GET /metrics for Prometheus, and the folder that several workers share their numbers in."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from appbuilder import telemetry
from appbuilder.errors import Forbidden
from appbuilder.per_process import PerProcess
from appbuilder.serve.asgi.http import caller, in_thread
from appbuilder.serve.asgi.service import Service
from appbuilder.serve.asking import is_local, read_asking

if TYPE_CHECKING:
    from appbuilder.serve.asgi.prometheus import Exposition

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


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
        if service.settings.auth and not is_local(read_asking(request.scope)):
            _check_administrator(request)
        body, content_type = await in_thread(numbers.written, request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})

    return [Route("/metrics", metrics)]


def _check_administrator(request: Request) -> None:
    if not caller(request).sees_all_others:
        raise Forbidden("The metrics are for administrators, and for programs on this machine.")


def share() -> str:
    """Makes the folder that the workers to come share their numbers in; returns it, for :func:`unshare`.

    To be called in the process that starts the workers, before any is started, and before anything of
    ``prometheus_client`` is imported. A folder that ``PROMETHEUS_MULTIPROC_DIR`` names already is emptied.
    """
    folder = os.environ.get(_FOLDER) or tempfile.mkdtemp(prefix="appbuilder-metrics-")
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(folder):
        if name.endswith(".db"):
            os.unlink(os.path.join(folder, name))
    os.environ[_FOLDER] = folder
    return folder


def worker_ended(folder: str, pid: int) -> None:
    """Takes what was open in a worker that is gone out of the sums; what it counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]


def unshare(folder: str) -> None:
    """Removes the folder, when all workers have ended."""
    shutil.rmtree(folder, ignore_errors=True)
    os.environ.pop(_FOLDER, None)


def _make() -> Exposition:
    from appbuilder.serve.asgi.prometheus import Exposition

    return Exposition()


_numbers = PerProcess(_make)
