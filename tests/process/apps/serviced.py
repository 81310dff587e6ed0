"""One of these programs as a service on PORT, with the probe of its Flask application: serviced PROGRAM."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from anyio import to_thread
from flask import Flask

from appbuilder.runtime.service_runtime import ServiceRuntime
from appbuilder.serve.http.messages import send_whole
from appbuilder.serve.http.service_app import ServiceApp

PROBES = ("/probe", "/open")


class Probed:
    """The service, with what the tests ask besides."""

    def __init__(self, service: ServiceApp, probe: Flask) -> None:
        self.lifespan = service.lifespan
        self._service = service
        self._probe = probe

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") not in PROBES:
            await self._service(scope, receive, send)
            return
        path = f"{scope['path']}?{scope['query_string'].decode()}"
        answer = await to_thread.run_sync(lambda: self._probe.test_client().get(path))
        await send_whole(send, answer.data, status=answer.status_code)


class ProbedService(ServiceRuntime):
    """Serves :class:`Probed`."""

    probe: Flask

    def _app(self, *args: Any, **kwargs: Any) -> Any:
        return Probed(super()._app(*args, **kwargs), self.probe)


def main() -> None:
    """Serves the component of the program named on the command line."""
    program = import_module(f"tests.process.apps.{sys.argv[1]}")
    runtime = program.make()
    service = ProbedService(runtime.component, os.environ["DATABASE"])
    service.probe = program.app()
    service.serve(port=int(os.environ["PORT"]))


if __name__ == "__main__":
    main()
