"""The run register in SQL: what the workers of a service tell each other of their runs.

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

from appbuilder import clock, jsontext
from appbuilder.core.runs import LiveRun, LocalRuns
from appbuilder.errors import StoreUnavailable
from appbuilder.ids import new_id, worker_name
from appbuilder.logs import logger
from appbuilder.store.listing import Execute
from appbuilder.store.rows import storable
from appbuilder.store.schema import ID_LENGTH
from appbuilder.store.service_schema import RUNS, WORKERS
from appbuilder.store.service_tables import ServiceTables

TICK = 1.0
"""Seconds between one look at this process's runs and the next."""
BEAT = 5.0
"""Seconds between heartbeats of a worker that has runs in the register."""
SILENCE = timedelta(seconds=30)
"""Time after which the runs of a worker that does not beat count for nothing."""

_RUN = (
    "SELECT r.id, r.session_id, r.request_id, r.owner, r.started_at, r.state, r.stop, w.name, "  # noqa: S608
    f"w.seen_at, {{now}} FROM {RUNS} r JOIN {WORKERS} w ON w.id = r.worker_id"
)
_INSERT = (
    f"INSERT INTO {RUNS} (id, worker_id, session_id, request_id, owner, started_at, state, stop) "  # noqa: S608
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass
class Told:
    """What this process has told the others, and what it has to; pure.

    :param told: by id the state of each run in the register; None: it may hold anything of ours.
    """

    told: dict[str, str] | None = None
    seen: set[str] = field(default_factory=set)

    def next(self, runs: Sequence[LiveRun]) -> Changes:
        """What to write: *runs* that were there at the last look, too, and those that have ended."""
        steady = {run.id: run for run in runs if run.id in self.seen}
        self.seen = {run.id for run in runs}
        told = self.told or {}
        return Changes(
            new=[run for run in steady.values() if run.id not in told],
            changed=[run for run in steady.values() if told.get(run.id, run.state) != run.state],
            ended=[name for name in told if name not in steady],
            all=list(steady.values()),
        )


@dataclass(frozen=True)
class Changes:
    new: Sequence[LiveRun]
    changed: Sequence[LiveRun]
    ended: Sequence[str]
    all: Sequence[LiveRun]

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.ended)


class SqlRunRegister:
    """:class:`appbuilder.core.runs.RunRegister` in the database of the service."""

    def __init__(self, tables: ServiceTables, worker_id: str = "") -> None:
        """:param worker_id: an id that a process had that died, and whose place this one takes: what that one
            left is taken out at once, not only when it was silent for long. Empty: there was none.
        """
        self._tables = tables
        self._given_id = worker_id
        self._id = worker_id or new_id()
        self._local: Callable[[], LocalRuns] | None = None
        self._told = Told(told={})
        self._beat_at = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, local: Callable[[], LocalRuns]) -> None:
        self._id, self._local = self._given_id or new_id(), local
        self._told = Told(told=None if self._given_id else {})
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="appbuilder-runs", daemon=True)
        self._thread.start()

    def runs(self, owners: Sequence[str | None] | None) -> Sequence[LiveRun]:
        found = [run for run in self._elsewhere() if run is not None]
        found += self._local().runs() if self._local is not None else ()
        chosen = [run for run in found if owners is None or run.owner in owners]
        return sorted(chosen, key=lambda run: (run.started_at, run.id))

    def stop(self, run_id: str) -> bool:
        if self._local is not None and self._local().stop_run(run_id):
            return True
        if not storable(run_id, ID_LENGTH):
            return False
        row = self._tables.read("a run was looked up", self._sql(_RUN) + " WHERE r.id = ?", (run_id,))
        if not any(map(self._read, row)):
            return False
        sql = f"UPDATE {RUNS} SET stop = ? WHERE id = ?"  # noqa: S608
        stop = "a run was to be stopped"
        return self._tables.transact(stop, lambda execute: bool(execute(sql, (True, run_id)).rowcount))

    def close(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._told.told != {}:
            with contextlib.suppress(StoreUnavailable):
                self._tables.transact("runs were taken out", self._take_out)
        self._local = None

    # Telling

    def _run(self) -> None:
        well = True
        while not self._ended.wait(TICK):
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
        """One look at this process's runs; what has to be told is told in one transaction."""
        assert self._local is not None
        local = self._local()
        changes = self._told.next(local.runs())
        anew = self._told.told is None
        late = bool(self._told.told) and clock.monotonic() >= self._beat_at
        if changes or late or anew:
            before, self._told.told = self._told.told, None
            # If it fails, all is told anew next time.
            self._tables.transact("runs were told of", lambda execute: self._tell(execute, changes, before))
            self._told.told = {run.id: run.state for run in changes.all}
        if self._told.told:
            sql = f"SELECT id FROM {RUNS} WHERE worker_id = ? AND stop = ?"  # noqa: S608
            for (run_id,) in self._tables.read("stops were looked for", sql, (self._id, True)):
                local.stop_run(run_id)

    def _tell(self, execute: Execute, changes: Changes, before: dict[str, str] | None) -> None:
        if not changes.all:
            self._take_out(execute)
            return
        alive = execute(f"UPDATE {WORKERS} SET seen_at = {self._tables.now} WHERE id = ?", (self._id,))  # noqa: S608
        new = changes.new
        if not alive.rowcount or before is None:
            # The first time; or others took us for dead and cleaned up; or it is not known what was written.
            self._take_out(execute)
            sql = f"INSERT INTO {WORKERS} (id, name, seen_at) VALUES (?, ?, {self._tables.now})"  # noqa: S608
            execute(sql, (self._id, worker_name()[:255]))
            new = changes.all
        else:
            for run in changes.changed:
                execute(f"UPDATE {RUNS} SET state = ? WHERE id = ?", (run.state, run.id))  # noqa: S608
            for name in changes.ended:
                execute(f"DELETE FROM {RUNS} WHERE id = ?", (name,))  # noqa: S608
        for run in new:
            execute(_INSERT, self._values(run))
        if clock.monotonic() >= self._beat_at:
            self._beat_at = clock.monotonic() + BEAT
            self._clean_up(execute)

    def _take_out(self, execute: Execute) -> None:
        execute(f"DELETE FROM {RUNS} WHERE worker_id = ?", (self._id,))  # noqa: S608
        execute(f"DELETE FROM {WORKERS} WHERE id = ?", (self._id,))  # noqa: S608

    def _clean_up(self, execute: Execute) -> None:
        """Takes out workers that died."""
        backend = self._tables.backend
        for worker, seen_at, now in execute(
            f"SELECT id, seen_at, {self._tables.now} FROM {WORKERS}", ()  # noqa: S608
        ).fetchall():
            if backend.decode(seen_at) < backend.decode(now) - SILENCE:
                execute(f"DELETE FROM {RUNS} WHERE worker_id = ?", (worker,))  # noqa: S608
                execute(f"DELETE FROM {WORKERS} WHERE id = ?", (worker,))  # noqa: S608

    def _values(self, run: LiveRun) -> tuple[Any, ...]:
        started_at = self._tables.backend.encode(run.started_at)
        owner = jsontext.dumps(run.owner).decode()
        return run.id, self._id, run.session_id, run.request_id, owner, started_at, run.state, False

    # Reading

    def _elsewhere(self) -> list[LiveRun | None]:
        sql = self._sql(_RUN) + " WHERE r.worker_id <> ?"
        return [self._read(row) for row in self._tables.read("runs were listed", sql, (self._id,))]

    def _read(self, row: Sequence[Any]) -> LiveRun | None:
        """None where its worker is dead."""
        run_id, session_id, request_id, owner, started_at, state, stop, worker, seen_at, now = row
        decode = self._tables.backend.decode
        if decode(seen_at) < decode(now) - SILENCE:
            return None
        state = "stopping" if stop else state
        whose = jsontext.loads(owner.encode())
        return LiveRun(run_id, session_id, request_id, whose, decode(started_at), state, worker)

    def _sql(self, text: str) -> str:
        return text.format(now=self._tables.now)
