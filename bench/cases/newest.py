"""The newest ten messages of a key, from a small table and from a large one, through the store itself."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from uuid import uuid4

from appbuilder.core.store import SessionStore
from appbuilder.store.sessions.open_stores import open_store
from bench.apps import text
from bench.plan import Plan
from bench.report import Table, Target, ratio, times
from bench.venvs import WORK

SMALL = 1000
LIMIT = 10
CALLS = 300
INSERT = "INSERT INTO appbuilder_session_messages VALUES (?, ?, ?, ?, ?, ?, ?, 0)"
START = datetime(2024, 7, 30)

SPREADS = {"all in one session under one key": 10**9, "20 a session, under two keys": 20}


def run(plan: Plan) -> Table:
    """Within a factor of two."""
    headers = ("rows", f"{SMALL:,} rows", f"{plan.rows:,} rows", "ratio")
    table = Table("Newest ten of a key", "Median of calls of the store on SQLite, in turns.", headers)
    WORK.mkdir(exist_ok=True)
    for spread, per_session in SPREADS.items():
        folder = Path(tempfile.mkdtemp(prefix="rows-", dir=WORK))
        try:
            small = _filled(folder / "small.db", SMALL, per_session)
            large = _filled(folder / "large.db", plan.rows, per_session)
            pairs = [(_call(small, SMALL, per_session), _call(large, plan.rows, per_session))
                     for _ in range(CALLS)]
            small.close()
            large.close()
        finally:
            shutil.rmtree(folder)
        fast, slow = [a for a, _ in pairs], [b for _, b in pairs]
        value = ratio(slow, fast)
        table.rows.append((spread, _micro(fast), _micro(slow), times(value)))
        table.targets.append(
            Target(f"newest ten, {plan.rows:,} rows to {SMALL:,}, {spread}", value, 2, at_most=True)
        )
    return table


def _call(store: SessionStore, count: int, per_session: int) -> float:
    session = f"session-{random.randrange(max(1, count // per_session))}"
    begin = time.perf_counter()
    found = store.history(session, "query", LIMIT)
    taken = time.perf_counter() - begin
    if len(found) != LIMIT or not found[-1]["content"].startswith("q"):
        raise AssertionError(f"{len(found)} messages of {session}")
    return taken


def _filled(path: Path, count: int, per_session: int) -> SessionStore:
    store = open_store(f"sqlite:///{path}")
    store.prepare()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA synchronous=OFF")
        database.executemany(INSERT, _rows(count, per_session))
    return store


def _rows(count: int, per_session: int) -> Iterator[tuple[str, ...]]:
    keys = ("query", "answer") if per_session < count else ("query",)
    for number in range(count):
        # Turn by turn through all sessions, as traffic comes, and not a session after the other.
        session = f"session-{number % max(1, count // per_session)}"
        key = keys[number // max(1, count // per_session) % len(keys)]
        value = f'{{"content":"{text.question(number)}","name":"msg","mtype":"str","id":"{uuid4()}"}}'
        stamp = (START + timedelta(seconds=number)).isoformat(" ", "microseconds")
        yield str(uuid4()), session, str(uuid4()), key, value, stamp, stamp


def _micro(values: list[float]) -> str:
    return f"{median(values) * 1e6:,.0f} us"
