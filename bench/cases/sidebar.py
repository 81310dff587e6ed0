"""The page's list of conversations and searches in it, from a large table, through the store's catalogue."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from uuid import uuid4

from appbuilder.core.conversations import ConversationRepository, Owner
from appbuilder.store.conversations.row_values import ConversationRow
from appbuilder.store.sessions.open_stores import open_store
from appbuilder.store.sessions.session_store import SqlStore
from bench.apps import text
from bench.cases.newest import INSERT
from bench.plan import Plan
from bench.report import Table, Target
from bench.venvs import WORK

PER_SESSION = 20
KEYS = ("_appbuilder.turn", "query", "answer")
FOUND = 20
"""Conversations asked for at a time, as the page's search does."""
CALLS = 100
LIMIT = 50
"""Milliseconds."""
START = datetime(2024, 7, 30)

SEARCHES = {"rare": "needle", "common": "海淀区", "no match": "haystack", "JSON word": "folded"}
NEEDLE_IN = 7
"""The session whose title has the rare word: nearly the last one a list from the newest on comes to."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Whose the conversations are; ``asking`` sees them, or a share of them."""

    label: str
    users: int
    asking: Sequence[Owner]

    def owner(self, session: int) -> Owner:
        return f"user:{session % self.users}" if self.users > 1 else "local"


SPREADS = (
    Spread("all of the one local user", 1, ("local", None)),
    Spread("of 100 users", 100, (f"user:{NEEDLE_IN}",)),
    Spread("all begun over POST /chat", 0, ("local", None)),
)


def run(plan: Plan) -> Table:
    """At most 50 ms each."""
    note = (
        f"{plan.rows:,} rows on SQLite, {PER_SESSION} a conversation. Median of {CALLS} calls of the store's "
        f"catalogue, in turns, each for {FOUND} conversations; `next` is the page after the first. The rare "
        "word is in one title, the common one in all; the JSON word is in no title, but in the JSON "
        "that holds each. `first start` is what the page's first start with this database takes: it "
        "makes indexes, and lists what was begun over POST /chat."
    )
    headers = ("conversations", "list", "next", *(f"search, {kind}" for kind in SEARCHES), "first start")
    table = Table("The page's side bar", note, headers)
    WORK.mkdir(exist_ok=True)
    for spread in SPREADS:
        folder = Path(tempfile.mkdtemp(prefix="rows-", dir=WORK))
        try:
            store = _filled(folder / "large.db", plan.rows, spread)
            begin = time.perf_counter()
            store.prepare_conversations()
            taken = time.perf_counter() - begin
            calls = _measure(store.repository(), spread)
            store.close()
        finally:
            shutil.rmtree(folder)
        table.rows.append((spread.label, *(f"{each:.2f} ms" for each in calls), f"{taken:.1f} s"))
        where = f"side bar, {plan.rows:,} rows, {spread.label}"
        table.targets += [
            Target(f"{where}: list", max(calls[:2]), LIMIT, at_most=True, unit="ms"),
            Target(f"{where}: slowest search", max(calls[2:]), LIMIT, at_most=True, unit="ms"),
        ]
    return table


def _measure(repository: ConversationRepository, spread: Spread) -> list[float]:
    """Milliseconds of the list, its next page, and each search."""
    cursor = repository.page(spread.asking, limit=FOUND).next
    rounds = [
        (
            _call(repository, spread, FOUND),
            _call(repository, spread, FOUND, cursor=cursor),
            _call(repository, spread, 1, SEARCHES["rare"]),
            _call(repository, spread, FOUND, SEARCHES["common"]),
            _call(repository, spread, 0, SEARCHES["no match"]),
            _call(repository, spread, 0, SEARCHES["JSON word"]),
        )
        for _ in range(CALLS)
    ]
    return [median(each) * 1000 for each in zip(*rounds, strict=True)]


def _call(
    repository: ConversationRepository,
    spread: Spread,
    wanted: int,
    search: str = "",
    cursor: str | None = None,
) -> float:
    begin = time.perf_counter()
    found = repository.page(spread.asking, search=search, limit=FOUND, cursor=cursor).conversations
    taken = time.perf_counter() - begin
    if len(found) != wanted or not all(search in each.title for each in found):
        raise AssertionError(f"{len(found)} conversations for {search!r}, {spread.label}")
    return taken


def _filled(path: Path, count: int, spread: Spread) -> SqlStore:
    store = open_store(f"sqlite:///{path}")
    store.prepare()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA synchronous=OFF")
        database.executemany(INSERT, _rows(count, spread))
    return store


def _rows(count: int, spread: Spread) -> Iterator[tuple[str, ...]]:
    sessions = count // PER_SESSION
    keys = KEYS if spread.users else KEYS[1:]
    for number in range(count):
        # Turn by turn through all sessions, as traffic comes, and not a session after the other.
        nth, session = divmod(number, sessions)
        name, stamp = f"session-{session}", _stamp(number)
        words = SEARCHES["rare"] if session == NEEDLE_IN else text.question(session)
        words = f"{SEARCHES['common']} {words}"
        if spread.users and nth == 0:
            row = ConversationRow(name, spread.owner(session), words)
            yield row.id, name, str(uuid4()), row.key, row.text, stamp, _stamp(count - sessions + session)
        else:
            value = f'{{"content":"{words}","name":"msg","mtype":"str","id":"{uuid4()}"}}'
            yield str(uuid4()), name, str(uuid4()), keys[nth % len(keys)], value, stamp, stamp


def _stamp(number: int) -> str:
    return (START + timedelta(seconds=number)).isoformat(" ", "microseconds")
