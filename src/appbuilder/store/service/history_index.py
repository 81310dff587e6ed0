"""The history index in SQL: which session a conversation belongs to that a client sends whole each time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import Connection, bindparam, literal_column, select

from appbuilder import clock
from appbuilder.store.databases.group_commit import GroupCommitter
from appbuilder.store.service.tables import TRANSCRIPTS, ServiceTables

_Row = tuple[str, str, str]
"""Session, owner and digest."""

KEPT = timedelta(days=30)
"""Time after which a conversation that did not go on is not recognized any more."""
PRUNED_EVERY = 3600.0
"""Seconds between one look for old ones and the next."""
CANDIDATES = 10
"""Sessions that are tried in one request; of more, others take some at this moment."""

_WHOSE = (TRANSCRIPTS.c.owner == bindparam("owner"), TRANSCRIPTS.c.digest == bindparam("digest"))
_DROP = TRANSCRIPTS.delete().where(*_WHOSE, TRANSCRIPTS.c.session_id == bindparam("session_id"))
_FIND = (
    select(TRANSCRIPTS.c.session_id)
    .where(*_WHOSE)
    .order_by(TRANSCRIPTS.c.seen_at.desc(), TRANSCRIPTS.c.session_id)
    .limit(literal_column(str(CANDIDATES)))
    .offset(literal_column("0"))  # otherwise SQLite's is a parameter
)


class SqlHistoryIndex:
    """:class:`appbuilder.core.history_index.HistoryIndex` in the database of the service."""

    def __init__(self, tables: ServiceTables) -> None:
        self._tables = tables
        self._upsert, self._order = tables.fast(tables.upsert(TRANSCRIPTS, "session_id"))
        self._find, _ = tables.fast(_FIND)
        self._drop, _ = tables.fast(_DROP)
        self._prune_at = 0.0
        self._group: GroupCommitter[_Row] = GroupCommitter(self._remember)

    def remember(self, owner: str, digest: str, session_id: str) -> None:
        # One for every turn: those that wait at the same time share a commit, as turns do.
        self._group.submit((session_id, _hash(owner), digest), 0.0)

    def _remember(self, take: Callable[[], list[_Row]], _deadline: float) -> list[Exception | None]:
        now, prune = clock.now(), clock.monotonic() >= self._prune_at
        rows, encode = take(), self._tables.backend.encode

        def work(connection: Connection) -> None:
            # In one order, whoever writes: two processes that write the same must not wait for each other.
            for session_id, owner, digest in sorted({row[0]: row for row in rows}.values()):
                row = {"session_id": session_id, "owner": owner, "digest": digest, "seen_at": encode(now)}
                connection.exec_driver_sql(self._upsert, tuple(row[name] for name in self._order))
            if prune:
                connection.execute(TRANSCRIPTS.delete().where(TRANSCRIPTS.c.seen_at < now - KEPT))

        self._tables.transact("a transcript was remembered", work)
        if prune:
            self._prune_at = clock.monotonic() + PRUNED_EVERY
        return [None] * len(rows)

    def take(self, owner: str, digest: str) -> str | None:
        doing, whose = "a transcript was looked up", (_hash(owner), digest)
        newest = self._tables.read_fast(doing, self._find, whose)
        found = [session_id for (session_id,) in newest]
        if not found:
            return None

        def work(connection: Connection) -> str | None:
            # Another process may have taken it since it was read: only one of them deletes it.
            drops = ((each, connection.exec_driver_sql(self._drop, (*whose, each))) for each in found)
            return next((each for each, dropped in drops if dropped.rowcount), None)

        return self._tables.transact(doing, work)

    def forget(self, owner: str) -> None:
        drop = TRANSCRIPTS.delete().where(TRANSCRIPTS.c.owner == _hash(owner))
        self._tables.transact("transcripts were forgotten", lambda connection: connection.execute(drop))


def _hash(owner: str) -> str:
    """Owners' names may be longer than a column, and are of no use here."""
    return hashlib.blake2b(owner.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()
