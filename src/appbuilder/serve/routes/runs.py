"""/runs: the turns under way, in all workers, and stopping one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from appbuilder.core.runs import LiveRun
from appbuilder.engine.cancel_runs import POLL_INTERVAL, RunCancellation
from appbuilder.errors import NotFound
from appbuilder.protocols.chat import checked_id
from appbuilder.protocols.rest import schemas
from appbuilder.serve.auth.authorization import may_see
from appbuilder.serve.http import query_parameters
from appbuilder.serve.http.messages import caller, reply
from appbuilder.serve.http.path_routes import at
from appbuilder.serve.http.rate_limits import limit_key
from appbuilder.serve.http.state import Service
from appbuilder.serve.http.thread_pools import READS, TURNS


def routes(service: Service) -> list[BaseRoute]:
    """The routes at /runs and below."""
    runs = Runs(service)
    return [
        at("/runs", GET=runs.list),
        at("/runs/{run_id}", GET=runs.read, DELETE=runs.stop),
        at("/runs/{run_id}/stop", POST=runs.stop),
    ]


class Runs:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._register = service.register

    async def list(self, request: Request) -> Response:
        """The caller's own; an administrator's are everybody's."""
        identity = caller(request)
        owners = query_parameters.owners(request, identity)
        if identity.sees_all_others and not query_parameters.owner(request)[0]:
            owners = None
        found = await READS.run_for(limit_key(identity), self._register.runs, owners)
        return reply(schemas.envelope({"runs": [schemas.run(each) for each in found]}))

    async def read(self, request: Request) -> Response:
        """One of them."""
        return reply(schemas.envelope(schemas.run(await self._find(request))))

    async def stop(self, request: Request) -> Response:
        """Stops it, wherever it runs; what was answered so far is kept."""
        run = await self._find(request)
        if not await TURNS.run(self._register.stop, run.id):
            raise _no_run()
        return reply(schemas.envelope({"id": run.id, "state": "stopping"}))

    async def _find(self, request: Request) -> LiveRun:
        """:raises NotFound: the run has ended, or belongs to another owner."""
        identity = caller(request)
        run_id = checked_id(request.path_params["run_id"], "run_id")
        for run in await READS.run_for(limit_key(identity), self._register.runs, None):
            if run.id == run_id and may_see(identity, run.owner):
                return run
        raise _no_run()


async def stop_all(service: Service, meant: Callable[[LiveRun], bool]) -> None:
    """Stops the runs that are *meant*, in all workers, and returns when they have ended.

    :raises SessionBusy: some have not ended in time; they were asked to.
    """
    stopping = RunCancellation(service.register, meant)
    while True:
        if await TURNS.run(stopping.ended):
            return
        await asyncio.sleep(POLL_INTERVAL)


def _no_run() -> NotFound:
    return NotFound("There is no such run.")
