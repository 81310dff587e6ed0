"""What a database has to offer to :class:`appbuilder.store.sql.SqlStore`, in one process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from appbuilder.store.rows import PreparedTurn


class Backend(Protocol):
    """The connections of one process to one database. Any method may raise what the driver raises."""

    def page(
        self, session_id: str, key: str, limit: int, after: tuple[Any, str] | None
    ) -> Sequence[tuple[str, Any, str]]:
        """Value, created_at and id of the newest rows (before *after*), newest first."""

    def write(self, turn: PreparedTurn) -> None:
        """Inserts the turn's rows in one durable transaction, in commit order."""

    def prepare(self) -> None:
        """Makes the table and the indexes where they are missing."""

    def ping(self) -> None:
        """One round trip."""

    def close(self) -> None:
        """Closes every connection."""
