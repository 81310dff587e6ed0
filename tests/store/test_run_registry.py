"""Live runs of all workers of a service."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.engine import URL
from tests.store.conftest import Opener
from tests.store.helpers import execute, fetch

from appbuilder import clock
from appbuilder.core.runs import LiveRun
from appbuilder.errors import StoreUnavailable
from appbuilder.ids import new_id
from appbuilder.store.runs import run_registry as module
from appbuilder.store.runs.run_registry import SqlRunRegistry
from appbuilder.store.service.tables import ServiceTables
from appbuilder.store.sessions.session_store import SqlStore

BEGAN = datetime(2026, 5, 1, 12)


class Worker:
    """A process of the service: its runs, its register, which looks when the test says so."""

    def __init__(self, store: SqlStore, worker_id: str) -> None:
        self.live: dict[str, LiveRun] = {}
        self.stopped: list[str] = []
        self.register = store.run_register(worker_id)
        self.register.start(lambda: self)

    def runs(self) -> list[LiveRun]:
        return list(self.live.values())

    def stop_run(self, run_id: str) -> bool:
        if run_id in self.live:
            self.stopped.append(run_id)
        return run_id in self.live

    def begin(self, owner: str | None = "ann", minutes: int = 0) -> LiveRun:
        run = LiveRun(new_id(), "s", "r", owner, BEGAN + timedelta(minutes=minutes), "running", "here:1", 3)
        self.live[run.id] = run
        return run

    def tick(self) -> None:
        self.register.tick()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How many seconds the clock is ahead, to be set."""
    ahead, real = [0.0], clock.monotonic
    monkeypatch.setattr(clock, "monotonic", lambda: real() + ahead[0])
    return ahead


@pytest.fixture
def worker(
    database_url: URL, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Worker]]:
    monkeypatch.setattr(module, "POLL_INTERVAL", 3600.0)
    opened(database_url).prepare_service()
    made: list[Worker] = []

    def make(worker_id: str = "") -> Worker:
        made.append(Worker(opened(database_url), worker_id))
        return made[-1]

    yield make
    for each in made:
        each.register.close()


def told(url: URL) -> list[str]:
    return [row[0] for row in fetch(url, "SELECT id FROM appbuilder_runs")]


def test_others_see_a_run_that_lasts(worker: Callable[[], Worker], database_url: URL) -> None:
    one, other = worker(), worker()
    run = one.begin("名\0")
    assert one.register.runs(None) == [run]
    one.tick()
    assert other.register.runs(None) == []
    one.tick()
    (seen,) = other.register.runs(None)
    assert seen == replace(run, worker=seen.worker, pieces=None)
    assert seen.worker.endswith(f":{os.getpid()}")
    assert one.register.runs(None) == [run]
    one.live[run.id] = replace(run, state="stopping")
    one.tick()
    assert [each.state for each in other.register.runs(None)] == ["stopping"]
    del one.live[run.id]
    one.tick()
    assert other.register.runs(None) == []
    assert told(database_url) == []
    assert fetch(database_url, "SELECT id FROM appbuilder_workers") == []


def test_runs_by_owner(worker: Callable[[], Worker]) -> None:
    one, other = worker(), worker()
    third, first = one.begin("ann", 3), one.begin(None, 1)
    one.tick()
    one.tick()
    second = other.begin("bob", 2)
    assert [run.id for run in other.register.runs(None)] == [first.id, second.id, third.id]
    assert [run.id for run in other.register.runs(["ann", "bob"])] == [second.id, third.id]
    assert [run.id for run in other.register.runs([None])] == [first.id]
    assert other.register.runs([]) == []


def test_short_turns_never_touch_the_database(
    worker: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch, later: list[float]
) -> None:
    one = worker()

    def refuse(*_args: object) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(ServiceTables, "transact", refuse)
    monkeypatch.setattr(ServiceTables, "read", refuse)
    for _ in range(3):
        run = one.begin()
        one.tick()
        del one.live[run.id]
        later[0] += module.BEAT
    one.tick()


def test_a_run_that_lasts_is_written_once(
    worker: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch, later: list[float]
) -> None:
    one = worker()
    one.begin()
    writes: list[str] = []
    transact = ServiceTables.transact

    def counted(*args: Any) -> Any:
        writes.append(args[1])
        return transact(*args)

    monkeypatch.setattr(ServiceTables, "transact", counted)
    for _ in range(5):
        one.tick()
    assert len(writes) == 1
    later[0] += module.BEAT
    one.tick()
    one.tick()
    assert len(writes) == 2


def test_a_stop_from_elsewhere(worker: Callable[[], Worker]) -> None:
    one, other = worker(), worker()
    run, short = one.begin(), new_id()
    one.tick()
    one.tick()
    assert other.register.stop(run.id)
    assert not other.register.stop(short)
    assert not other.register.stop("x" * 99)
    assert [each.state for each in other.register.runs(None)] == ["stopping"]
    assert one.stopped == []
    one.tick()
    assert one.stopped == [run.id]
    assert one.register.stop(run.id)
    assert one.stopped == [run.id, run.id]


def test_who_only_looks_may_stop(worker: Callable[[], Worker], database_url: URL, opened: Opener) -> None:
    one, looker = worker(), opened(database_url).run_register()
    run = one.begin()
    one.tick()
    one.tick()
    assert [each.id for each in looker.runs(None)] == [run.id]
    assert looker.stop(run.id)
    looker.close()
    one.tick()
    assert one.stopped == [run.id]


def silence(url: URL) -> None:
    """The heartbeats become older than those of the living."""
    execute(url, "UPDATE appbuilder_workers SET seen_at = '2020-01-01 00:00:00.000000'")


def test_a_worker_that_died(worker: Callable[[], Worker], database_url: URL) -> None:
    dead, alive = worker(), worker()
    gone = dead.begin()
    dead.tick()
    dead.tick()
    silence(database_url)
    assert alive.register.runs(None) == []
    assert not alive.register.stop(gone.id)
    stays = alive.begin()
    alive.tick()
    alive.tick()
    assert told(database_url) == [stays.id]


def test_who_takes_the_place_of_one_that_died(worker: Callable[..., Worker], database_url: URL) -> None:
    """Its supervisor knows that it is dead: its runs are gone before it is silent for long."""
    place = new_id()
    dead, other = worker(place), worker(new_id())
    dead.begin()
    dead.tick()
    dead.tick()
    stays = other.begin()
    other.tick()
    other.tick()
    assert len(other.register.runs(None)) == 2
    again = worker(place)
    again.tick()
    assert told(database_url) == [stays.id]
    assert [run.id for run in other.register.runs(None)] == [stays.id]
    new = again.begin()
    again.tick()
    again.tick()
    assert {run.id for run in other.register.runs(None)} == {stays.id, new.id}


def test_a_worker_that_was_taken_for_dead(
    worker: Callable[[], Worker], database_url: URL, later: list[float]
) -> None:
    slow, other = worker(), worker()
    run = slow.begin()
    slow.tick()
    slow.tick()
    silence(database_url)
    other.begin()
    other.tick()
    other.tick()
    assert run.id not in told(database_url)
    later[0] += module.BEAT
    slow.tick()
    assert run.id in told(database_url)


def test_what_failed_is_told_again(
    worker: Callable[[], Worker], database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = worker()
    run, ends = one.begin(), one.begin()
    one.tick()
    transact = ServiceTables.transact

    def in_doubt(*args: object) -> None:
        transact(*args)  # type: ignore[arg-type]
        raise StoreUnavailable("whether it was done is unknown")

    with monkeypatch.context() as broken:
        broken.setattr(ServiceTables, "transact", in_doubt)
        with pytest.raises(StoreUnavailable):
            one.tick()
    del one.live[ends.id]
    one.tick()
    assert told(database_url) == [run.id]
    one.tick()
    one.register.close()
    assert told(database_url) == []


def test_it_looks_by_itself(database_url: URL, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL", 0.01)
    store = opened(database_url)
    store.prepare_service()
    looked: list[int] = []
    ticked = threading.Event()

    def tick(self: SqlRunRegistry) -> None:
        looked.append(1)
        if len(looked) == 1:
            raise StoreUnavailable("down")
        if len(looked) == 2:
            raise RuntimeError("odd")
        ticked.set()

    monkeypatch.setattr(SqlRunRegistry, "tick", tick)
    one = Worker(store, "")
    assert ticked.wait(30)
    one.register.close()
