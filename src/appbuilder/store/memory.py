"""Conversations in memory: the same behaviour as in SQL, for tests and for trying things out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from appbuilder import jsontext
from appbuilder.core.store import TurnRecord
from appbuilder.store import rows


class MemoryStore:
    """A :class:`appbuilder.core.store.SessionStore` that forgets everything with the process.

    Messages are kept as the JSON text they would be in a database, so that what comes back is the same.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, str], list[str]] = {}
        """By session and key: messages as JSON text, in commit order."""

    def history(self, session_id: str, key: str, limit: int) -> list[dict[str, Any]]:
        if limit <= 0:
            return []
        with self._lock:
            newest_first = [(text, "", "") for text in reversed(self._rows.get((session_id, key), ()))]

        def page(count: int, after: tuple[Any, str] | None) -> Sequence[tuple[str, Any, str]]:
            # The first page is all there is.
            return newest_first if after is None else ()

        return rows.newest_finished(page, limit)

    def commit(self, turn: TurnRecord) -> None:
        texts = [(key, jsontext.dumps(value).decode()) for key, value in turn.rows]
        with self._lock:
            for key, text in texts:
                self._rows.setdefault((turn.session_id, key), []).append(text)

    def ping(self) -> None:
        """Always answers."""

    def close(self) -> None:
        """Nothing to give back."""
