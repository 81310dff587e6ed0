"""The SQL of the hot path, written once per database and run as it stands on a pooled connection.

Each statement names the index that serves it (see :mod:`appbuilder.store.schema`). Values are always
parameters; only the marks of the dialect are put in here.
"""

from __future__ import annotations

from dataclasses import dataclass

from appbuilder.store.schema import TABLE

COLUMNS = (
    "id, session_id, request_id, message_key, message_value, created_at, updated_at, deleted"
)


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements of one dialect."""

    newest: str
    """session id -> created_at, updated_at of its last row; ix_appbuilder_session."""
    page: str
    """session id, key, limit -> value, created_at, id, newest first; ix_appbuilder_history."""
    older_page: str
    """As ``page``, of rows before (created_at, created_at, id); ix_appbuilder_history."""
    insert: str
    """The eight columns."""
    mark: str

    def stored(self, count: int) -> str:
        """*count* row ids -> how many of them are there; the primary key."""
        marks = ", ".join([self.mark] * count)
        return f"SELECT count(*) FROM {TABLE} WHERE id IN ({marks})"  # noqa: S608 - marks only


def make(mark: str, *, value: str = "message_value", false: str = "0") -> Statements:
    """The statements with the dialect's parameter *mark*, its way to read JSON as text, and its false."""
    page = (
        f"SELECT {value}, created_at, id FROM {TABLE} "  # noqa: S608 - no value is put in
        f"WHERE session_id = {mark} AND message_key = {mark} AND deleted = {false}"
    )
    newest_first = f" ORDER BY created_at DESC, id DESC LIMIT {mark}"
    return Statements(
        newest=f"SELECT created_at, updated_at FROM {TABLE} WHERE session_id = {mark} "  # noqa: S608
        "ORDER BY created_at DESC, id DESC LIMIT 1",
        page=page + newest_first,
        older_page=f"{page} AND created_at <= {mark} AND (created_at < {mark} OR id < {mark}){newest_first}",
        insert=f"INSERT INTO {TABLE} ({COLUMNS}) "  # noqa: S608
        f"VALUES ({', '.join([mark] * 7)}, {false})",
        mark=mark,
    )
