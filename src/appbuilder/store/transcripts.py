"""Transcripts in SQL: which session a conversation belongs to that a client sends whole each time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta

from appbuilder import clock
from appbuilder.store.listing import Execute
from appbuilder.store.service_schema import TRANSCRIPTS
from appbuilder.store.service_tables import ServiceTables
from appbuilder.store.writer import GroupWriter

_Row = tuple[str, str, str]
"""Session, owner and digest."""

KEPT = timedelta(days=30)
"""Time after which a conversation that did not go on is not recognized any more."""
PRUNED_EVERY = 3600.0
"""Seconds between one look for old ones and the next."""
CANDIDATES = 10
"""Sessions that are tried in one request; of more, others take some at this moment."""


class SqlTranscripts:
    """:class:`appbuilder.core.transcripts.Transcripts` in the database of the service."""

    def __init__(self, tables: ServiceTables) -> None:
        self._tables = tables
        self._upsert = tables.upsert(TRANSCRIPTS, "session_id", ("session_id", "owner", "digest", "seen_at"))
        self._prune_at = 0.0
        self._group: GroupWriter[_Row] = GroupWriter(self._remember)

    def remember(self, owner: str, digest: str, session_id: str) -> None:
        # One for every turn: those that wait at the same time share a commit, as turns do.
        self._group.submit((session_id, _hash(owner), digest), 0.0)

    def _remember(self, take: Callable[[], list[_Row]], _deadline: float) -> list[Exception | None]:
        encode, now = self._tables.backend.encode, clock.now()
        prune = clock.monotonic() >= self._prune_at
        rows = take()

        def work(execute: Execute) -> None:
            # In one order, whoever writes: two processes that write the same must not wait for each other.
            for row in sorted({row[0]: row for row in rows}.values()):
                execute(self._upsert, (*row, encode(now)))
            if prune:
                execute(f"DELETE FROM {TRANSCRIPTS} WHERE seen_at < ?", (encode(now - KEPT),))  # noqa: S608

        self._tables.transact("a transcript was remembered", work)
        if prune:
            self._prune_at = clock.monotonic() + PRUNED_EVERY
        return [None] * len(rows)

    def take(self, owner: str, digest: str) -> str | None:
        doing, whose = "a transcript was looked up", (_hash(owner), digest)
        sql = (
            f"SELECT session_id FROM {TRANSCRIPTS} WHERE owner = ? AND digest = ? "  # noqa: S608
            f"ORDER BY seen_at DESC, session_id LIMIT {CANDIDATES}"
        )
        found = [session_id for (session_id,) in self._tables.read(doing, sql, whose)]
        if not found:
            return None
        drop = f"DELETE FROM {TRANSCRIPTS} WHERE session_id = ? AND owner = ? AND digest = ?"  # noqa: S608

        def work(execute: Execute) -> str | None:
            # Another process may have taken it since it was read: only one of them deletes it.
            return next((each for each in found if execute(drop, (each, *whose)).rowcount), None)

        return self._tables.transact(doing, work)

    def forget(self, owner: str) -> None:
        sql = f"DELETE FROM {TRANSCRIPTS} WHERE owner = ?"  # noqa: S608
        self._tables.transact("transcripts were forgotten", lambda execute: execute(sql, (_hash(owner),)))


def _hash(owner: str) -> str:
    """Owners' names may be longer than a column, and are of no use here."""
    return hashlib.blake2b(owner.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()
