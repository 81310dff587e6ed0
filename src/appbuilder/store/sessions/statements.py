"""The SQL of the hot path, written once per database and run as it stands on a pooled connection.

Each statement names the index that serves it (see :mod:`appbuilder.store.sessions.message_table`). Values are
always parameters; only the marks of the dialect are put in here.
"""

from __future__ import annotations

from dataclasses import dataclass

from appbuilder.core.store import RESERVED_PREFIX
from appbuilder.store.conversations.row_values import NOBODY
from appbuilder.store.sessions.message_table import TABLE

COLUMNS = (
    "id, session_id, request_id, message_key, message_value, created_at, updated_at, deleted"
)

# Not LIKE, whose underscore stands for any letter, and which in SQLite passes over case.
NOT_OURS = f"substr(message_key, 1, {len(RESERVED_PREFIX)}) <> '{RESERVED_PREFIX}'"

_BEGUN_ANEW = ("session_id", "request_id", "message_key", "message_value", "created_at")
"""What a conversation that was deleted takes from the turn it starts again with."""

UPSERT = (
    " ON CONFLICT (id) DO UPDATE SET updated_at = excluded.updated_at, deleted = excluded.deleted, "
    + ", ".join(
        f"{name} = CASE WHEN {TABLE}.deleted THEN excluded.{name} ELSE {TABLE}.{name} END"
        for name in _BEGUN_ANEW
    )
)
# It assigns from left to right, so that `deleted` must come last.
MYSQL_UPSERT = (
    " ON DUPLICATE KEY UPDATE updated_at = VALUES(updated_at), "
    + ", ".join(f"{name} = IF(deleted, VALUES({name}), {name})" for name in _BEGUN_ANEW)
    + ", deleted = VALUES(deleted)"
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
    """The eight columns but the last."""
    own: str
    """row id -> key, deleted of a conversation's own row; the primary key."""
    told: str
    """updated_at, row id, key: a conversation's own row, if it is there, not deleted, and has that key or is
    without an owner, gets that time; the primary key."""
    clear: str
    """session id: removes its deleted rows; ix_appbuilder_session."""
    upsert_sql: str
    """As ``insert``, a conversation's own row: one that is listed only gets the new updated_at."""
    origin: str
    """session id, created_at -> value, created_at of the first row the component stored, before that time;
    ix_appbuilder_session."""
    mark: str

    false: str

    def replace(self, count: int) -> str:
        """session id, *count* row ids: marks these rows deleted; the primary key."""
        marks = ", ".join([self.mark] * count)
        return (
            f"UPDATE {TABLE} SET deleted = NOT {self.false} "  # noqa: S608 - marks only
            f"WHERE session_id = {self.mark} AND id IN ({marks})"
        )

    def stored(self, count: int) -> str:
        """*count* row ids -> how many of them are there; the primary key."""
        marks = ", ".join([self.mark] * count)
        return f"SELECT count(*) FROM {TABLE} WHERE id IN ({marks})"  # noqa: S608 - marks only


def make(
    mark: str, *, value: str = "message_value", false: str = "0", upsert: str = UPSERT
) -> Statements:
    """The statements with the dialect's parameter *mark*, its way to read JSON as text, its false, and how
    it writes over a row that is there."""
    page = (
        f"SELECT {value}, created_at, id FROM {TABLE} "  # noqa: S608 - no value is put in
        f"WHERE session_id = {mark} AND message_key = {mark} AND deleted = {false}"
    )
    newest_first = f" ORDER BY created_at DESC, id DESC LIMIT {mark}"
    insert = (
        f"INSERT INTO {TABLE} ({COLUMNS}) "  # noqa: S608
        f"VALUES ({', '.join([mark] * 7)}, {false})"
    )
    return Statements(
        newest=f"SELECT created_at, updated_at FROM {TABLE} WHERE session_id = {mark} "  # noqa: S608
        "ORDER BY created_at DESC, id DESC LIMIT 1",
        page=page + newest_first,
        older_page=f"{page} AND created_at <= {mark} AND (created_at < {mark} OR id < {mark}){newest_first}",
        insert=insert,
        own=f"SELECT message_key, deleted FROM {TABLE} WHERE id = {mark}",  # noqa: S608
        told=f"UPDATE {TABLE} SET updated_at = {mark} WHERE id = {mark} "  # noqa: S608
        f"AND message_key IN ({mark}, '{NOBODY}') AND deleted = {false}",
        clear=f"DELETE FROM {TABLE} WHERE session_id = {mark} AND deleted <> {false}",  # noqa: S608
        upsert_sql=insert + upsert,
        origin=f"SELECT {value}, created_at FROM {TABLE} WHERE session_id = {mark} "  # noqa: S608
        f"AND deleted = {false} AND {NOT_OURS} AND created_at < {mark} ORDER BY created_at, id LIMIT 1",
        mark=mark,
        false=false,
    )
