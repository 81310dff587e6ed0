"""The run registry in SQL: what the workers of a service tell each other of their runs.

A run is written once it has been there for a second, so that short turns never touch the database; and
nothing is written while there is no such run. Heartbeats are the database's time.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Select, select

from appbuilder import clock, jsontext
from appbuilder.core.runs import LiveRun, LocalRuns
from appbuilder.errors import StoreUnavailable
from appbuilder.ids import new_id, worker_name
from appbuilder.logs import logger
from appbuilder.store.service.tables import RUNS, WORKERS, ServiceTables
from appbuilder.store.sessions.message_table import ID_LENGTH
from appbuilder.store.sessions.rows import storable

POLL_INTERVAL = 1.0
"""Seconds between one look at this process's runs and the next."""
BEAT = 5.0
"""Seconds between heartbeats of a worker that has runs in the register."""
SILENCE = timedelta(seconds=30)
"""Time after which the runs of a worker that does not beat count for nothing."""


@dataclass
class PublishedRuns:
    """What this process has published, and what it has to; pure.

    :param published: by id the state of each run in the register; None: its content is unknown.
    """

    published: dict[str, str] | None = None
    seen: set[str] = field(default_factory=set)

    def next(self, runs: Sequence[LiveRun]) -> Diff:
        """What to write: *runs* that were there at the last look, too, and those that have ended."""
        steady = {run.id: run for run in runs if run.id in self.seen}
        self.seen = {run.id for run in runs}
        published = self.published or {}
        return Diff(
            new=[run for run in steady.values() if run.id not in published],
            changed=[run for run in steady.values() if published.get(run.id, run.state) != run.state],
            ended=[name for name in published if name not in steady],
            all=list(steady.values()),
        )


@dataclass(frozen=True)
class Diff:
    new: Sequence[LiveRun]
    changed: Sequence[LiveRun]
    ended: Sequence[str]
    all: Sequence[LiveRun]

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.ended)


class SqlRunRegistry:
    """:class:`appbuilder.core.runs.RunRegistry` in the database of the service."""

    def __init__(self, tables: ServiceTables, worker_id: str = "") -> None:
        """:param worker_id: an id that a process had that died, and whose place this one takes: what that one
            left is taken out at once, not only when it was silent for long. Empty: there was none.
        """
        self._tables = tables
        self._given_id = worker_id
        self._id = worker_id or new_id()
        self._local: Callable[[], LocalRuns] | None = None
        self._published = PublishedRuns(published={})
        self._beat_at = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, local: Callable[[], LocalRuns]) -> None:
        self._id, self._local = self._given_id or new_id(), local
        self._published = PublishedRuns(published=None if self._given_id else {})
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="appbuilder-runs", daemon=True)
        self._thread.start()

    def runs(self, owners: Sequence[str | None] | None) -> Sequence[LiveRun]:
        found = [run for run in self._remote_runs() if run is not None]
        found += self._local().runs() if self._local is not None else ()
        chosen = [run for run in found if owners is None or run.owner in owners]
        return sorted(chosen, key=lambda run: (run.started_at, run.id))

    def stop(self, run_id: str) -> bool:
        if self._local is not None and self._local().stop_run(run_id):
            return True
        if not storable(run_id, ID_LENGTH):
            return False
        query = self._runs().where(RUNS.c.id == run_id)
        if not any(map(_read, self._tables.read("a run was looked up", query))):
            return False
        stop = RUNS.update().where(RUNS.c.id == run_id).values(stop=True)
        return self._tables.transact(
            "a run was to be stopped", lambda connection: bool(connection.execute(stop).rowcount)
        )

    def close(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._published.published != {}:
            with contextlib.suppress(StoreUnavailable):
                self._tables.transact("runs were taken out", self._withdraw)
        self._local = None

    # Telling

    def _run(self) -> None:
        well = True
        while not self._ended.wait(POLL_INTERVAL):
            try:
                self.tick()
                well = True
            except StoreUnavailable as error:
                if well:
                    logger.warning("other workers do not learn of this one's runs: %s", error)
                well = False
            except Exception:  # noqa: BLE001 - the thread must go on, or stops from elsewhere are not heard
                logger.exception("the register of runs failed")

    def tick(self) -> None:
        """One look at this process's runs; changes are published in one transaction."""
        assert self._local is not None
        local = self._local()
        changes = self._published.next(local.runs())
        from_scratch = self._published.published is None
        late = bool(self._published.published) and clock.monotonic() >= self._beat_at
        if changes or late or from_scratch:
            before, self._published.published = self._published.published, None
            # If it fails, all is published again next time.
            self._tables.transact("runs were published", lambda each: self._publish(each, changes, before))
            self._published.published = {run.id: run.state for run in changes.all}
        if self._published.published:
            stopped = select(RUNS.c.id).where(RUNS.c.worker_id == self._id, RUNS.c.stop.is_(True))
            for (run_id,) in self._tables.read("stops were looked for", stopped):
                local.stop_run(run_id)

    def _publish(self, connection: Connection, changes: Diff, before: dict[str, str] | None) -> None:
        if not changes.all:
            self._withdraw(connection)
            return
        alive = WORKERS.update().where(WORKERS.c.id == self._id).values(seen_at=self._tables.now)
        new = changes.new
        if not connection.execute(alive).rowcount or before is None:
            # The first time; or others took us for dead and cleaned up; or it is not known what was written.
            self._withdraw(connection)
            worker = {"id": self._id, "name": worker_name()[:255], "seen_at": self._tables.now}
            connection.execute(WORKERS.insert().values(worker))
            new = changes.all
        else:
            for run in changes.changed:
                connection.execute(RUNS.update().where(RUNS.c.id == run.id).values(state=run.state))
            for name in changes.ended:
                connection.execute(RUNS.delete().where(RUNS.c.id == name))
        for run in new:
            connection.execute(RUNS.insert().values(self._values(run)))
        if clock.monotonic() >= self._beat_at:
            self._beat_at = clock.monotonic() + BEAT
            self._clean_up(connection)

    def _withdraw(self, connection: Connection, worker_id: str = "") -> None:
        worker_id = worker_id or self._id
        connection.execute(RUNS.delete().where(RUNS.c.worker_id == worker_id))
        connection.execute(WORKERS.delete().where(WORKERS.c.id == worker_id))

    def _clean_up(self, connection: Connection) -> None:
        """Takes out workers that died."""
        workers = select(WORKERS.c.id, WORKERS.c.seen_at, self._tables.now)
        for worker_id, seen_at, now in connection.execute(workers).all():
            if seen_at < now - SILENCE:
                self._withdraw(connection, worker_id)

    def _values(self, run: LiveRun) -> dict[str, Any]:
        return {
            "id": run.id, "worker_id": self._id, "session_id": run.session_id, "request_id": run.request_id,
            "owner": jsontext.dumps(run.owner).decode(), "started_at": run.started_at, "state": run.state,
            "stop": False,
        }  # fmt: skip

    # Reading

    def _remote_runs(self) -> list[LiveRun | None]:
        query = self._runs().where(RUNS.c.worker_id != self._id)
        return [_read(row) for row in self._tables.read("runs were listed", query)]

    def _runs(self) -> Select[Any]:
        run, worker = RUNS.c, WORKERS.c
        return select(
            run.id, run.session_id, run.request_id, run.owner, run.started_at, run.state, run.stop,
            worker.name, worker.seen_at, self._tables.now,
        ).join_from(RUNS, WORKERS, worker.id == run.worker_id)  # fmt: skip


def _read(row: Sequence[Any]) -> LiveRun | None:
    """None where its worker is dead."""
    run_id, session_id, request_id, owner, started_at, state, stop, worker, seen_at, now = row
    if seen_at < now - SILENCE:
        return None
    state = "stopping" if stop else state
    return LiveRun(run_id, session_id, request_id, jsontext.loads(owner.encode()), started_at, state, worker)
