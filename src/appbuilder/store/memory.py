"""Conversations in memory: the same behaviour as in SQL, for tests and for trying things out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from appbuilder.core.store import TurnRecord
from appbuilder.store import rows
from appbuilder.store.memory_catalogue import MemoryCatalogue
from appbuilder.store.memory_table import MemoryTable
from appbuilder.store.rows import PreparedTurn


class MemoryStore:
    """A :class:`appbuilder.core.store.SessionStore` that forgets everything with the process."""

    def __init__(self) -> None:
        self._table = MemoryTable()
        self._catalogue = MemoryCatalogue(self._table)

    def history(
        self, session_id: str, key: str, limit: int, before: tuple[datetime, str] | None = None
    ) -> list[dict[str, Any]]:
        if limit <= 0:
            return []
        with self._table.lock:
            stored = [row for row in self._table.by_key.get((session_id, key), ()) if not row.deleted]
        newest_first = [
            (row.text, "", "")
            for row in reversed(stored)
            if before is None or (row.created_at, row.id) < before
        ]

        def page(count: int, after: tuple[Any, str] | None) -> Sequence[tuple[str, Any, str]]:
            # The first page is all there is.
            return newest_first if after is None else ()

        return rows.newest_finished(page, limit)

    def commit(self, turn: TurnRecord) -> None:
        if not turn.rows and turn.entry is None:
            return
        prepared = PreparedTurn.of(turn)
        with self._table.lock:
            self._table.write(prepared)

    def catalogue(self) -> MemoryCatalogue:
        """The conversations in it, as lists show them."""
        return self._catalogue

    def prepare_catalogue(self) -> None:
        """Nothing to make."""

    failures = 0

    def check_writable(self, timeout: float) -> None:
        """Always is."""

    def ping(self) -> None:
        """Always answers."""

    def close(self) -> None:
        """Nothing to give back."""
