"""What a second worker process brings, on PostgreSQL."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from tests.services.servers import PostgresServer

from bench.cases import rates
from bench.cases.history import Talk
from bench.contenders import Service
from bench.plan import Plan
from bench.report import Table, Target, errors, ratio
from bench.servers import cpu_seconds, running

NOTE = (
    "The same turns with history, kept by PostgreSQL (fsync on) on the same machine. `CPU`, `database` and "
    "`load` are microseconds of processor for a turn: of the workers, of PostgreSQL, and of the load "
    "generator. What the last two take of the machine's cores a second worker does not get."
)
HEADERS = ("workers", "turns/s", "range", "to one", "p99", "CPU", "database", "load", "errors")


@dataclass(slots=True)
class Round:
    """A sample, and the database's processor seconds for a turn."""

    sample: rates.Sample
    database: float


def run(plan: Plan) -> Table:
    """Two workers make at least 1.6 times the turns of one."""
    rounds: dict[int, list[Round]] = {1: [], 2: []}
    with _postgres() as postgres:
        for _ in range(plan.rounds):
            for workers, own in rounds.items():
                print(f"  history: {workers} workers, PostgreSQL", file=sys.stderr, flush=True)
                own.append(_measure(postgres, workers, plan))
    table = Table("Service: workers on PostgreSQL", NOTE, HEADERS)
    for workers, own in rounds.items():
        table.rows.append(_row(workers, own, _to_one(rounds) if workers > 1 else None))
    table.targets.append(Target("service, two workers on PostgreSQL, of one", _to_one(rounds), 1.6))
    return table


def _measure(postgres: PostgresServer, workers: int, plan: Plan) -> Round:
    database = postgres.new_database().render_as_string(hide_password=False)
    contender = Service("this product", workers=workers, database=database)
    assert postgres.process is not None
    with running(contender, "history") as server:
        begin = cpu_seconds(postgres.process.pid)
        sample = rates.closed_loop(server, Talk(server.protocol, plan), plan)
        used = cpu_seconds(postgres.process.pid) - begin
    # The warm-up's turns are among those it worked for.
    seconds = plan.warm_up + plan.seconds
    return Round(sample, used / max(1, sample.rate * seconds))


def _row(workers: int, own: list[Round], to_one: float | None) -> tuple[str, ...]:
    rates_ = [each.sample.rate for each in own]
    return (
        f"{workers}",
        f"{median(rates_):,.0f}",
        f"{min(rates_):,.0f} - {max(rates_):,.0f}",
        "-" if to_one is None else f"{to_one:.2f}x",
        f"{median(each.sample.delay for each in own) * 1000:,.0f} ms",
        _micro(each.sample.cpu for each in own),
        _micro(each.database for each in own),
        _micro(each.sample.busy / max(1, each.sample.rate) for each in own),
        errors(each.sample.errors for each in own),
    )


def _micro(seconds: Iterator[float]) -> str:
    return f"{median(seconds) * 1e6:,.0f} us"


def _to_one(rounds: dict[int, list[Round]]) -> float | None:
    return ratio(*([each.sample.rate for each in rounds[workers]] for workers in (2, 1)))


@contextmanager
def _postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        yield server
    finally:
        server.remove()
