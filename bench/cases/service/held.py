"""Thousands of open streams: what they hold of memory, and how long another client waits."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass
from statistics import median

from bench import protocols, servers
from bench.cases import rates
from bench.cases.memory import resident
from bench.cases.service.against_starlette import ASYNC_STORED, SYNC_STORED
from bench.cases.tokens import stream_requests
from bench.client import Failure, Held, load
from bench.contenders import STARLETTE
from bench.plan import Plan
from bench.report import Table, Target, errors, quantile

OURS = (SYNC_STORED, ASYNC_STORED)
PACE = 1.0
"""Seconds between the pieces of an open stream."""
LIMIT = 100
"""Milliseconds."""
HEADERS = (
    *("server", "program", "opened in", "idle", "with all open", "per stream"),
    *("GET /health p50", "p99", "max", "requests", "errors"),
)


@dataclass(slots=True)
class Crowd:
    """One round; sizes in bytes, times in seconds."""

    opening: float
    idle: int
    full: int
    waits: list[float]
    errors: Counter[str]


class Trivial:
    """A request that costs nothing, again and again."""

    def request(self, number: int) -> bytes:
        return protocols.get("/health")

    def check(self, number: int, status: int, body: bytes) -> None:
        if status != 200:
            raise Failure(f"status {status}")

    def failed(self, number: int) -> None:
        """Nothing to forget."""


def run(plan: Plan) -> Table:
    """p99 of a trivial request under 100 ms while 5000 streams are open."""
    requests = stream_requests(plan.many_streams, 1000, PACE)

    def measure(server: servers.Server) -> Crowd:
        idle, begin = resident(server.pid), time.perf_counter()
        try:
            held = Held(server.port, requests.__getitem__, plan.many_streams)
        except RuntimeError as error:
            return Crowd(time.perf_counter() - begin, idle, resident(server.pid), [], Counter([str(error)]))
        opening = time.perf_counter() - begin
        with contextlib.closing(held):
            got = load(server.port, Trivial(), 1, plan.seconds)
            return Crowd(opening, idle, resident(server.pid), got.latencies, got.errors)

    rounds = rates.in_turns((STARLETTE, *OURS), "tokens", plan.few_rounds, measure)
    note = (
        f"{plan.many_streams} streams are open, each sends a piece every {PACE:g} s; one connection asks for "
        "/health, again and again. `idle` is the resident set before, for a synchronous component "
        "with a thread for each stream after."
    )
    table = Table("Service: open streams", note, HEADERS)
    for contender, own in rounds.items():
        table.rows.append((contender.server, contender.label, *_cells(own, plan.many_streams)))
        if contender in OURS:
            name = f"service, GET /health p99 with {plan.many_streams} open streams, {contender.label}"
            table.targets.append(Target(name, _p99(own), LIMIT, at_most=True, unit="ms"))
    return table


def _p99(own: list[Crowd]) -> float | None:
    """Milliseconds; None where a round came to nothing."""
    if not all(crowd.waits for crowd in own):
        return None
    return median(quantile(crowd.waits, 0.99) for crowd in own) * 1000


def _cells(own: list[Crowd], count: int) -> tuple[str, ...]:
    stream, p99 = median(crowd.full - crowd.idle for crowd in own) / count / 2**10, _p99(own)
    return (
        f"{median(crowd.opening for crowd in own):.1f} s",
        f"{median(crowd.idle for crowd in own) / 2**20:.0f} MiB",
        f"{median(crowd.full for crowd in own) / 2**20:.0f} MiB",
        f"{stream:.1f} KiB",
        f"{median(quantile(crowd.waits, 0.5) for crowd in own) * 1000:.1f} ms",
        "-" if p99 is None else f"{p99:.1f} ms",
        f"{max(max(crowd.waits, default=0) for crowd in own) * 1000:.0f} ms",
        f"{sum(len(crowd.waits) for crowd in own)}",
        errors(crowd.errors for crowd in own),
    )
