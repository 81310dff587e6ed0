"""Keeps the list of conversations up with what is written without an entry: over POST /chat, by the SDK.

Such a session gets a row of its own when it is asked for the list; its messages are never touched.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from appbuilder.store.conversations import row_values
from appbuilder.store.conversations.conversation_row import Execute, purge_previous_owner, title_of_row
from appbuilder.store.conversations.row_values import ConversationRow
from appbuilder.store.databases.base import Backend
from appbuilder.store.sessions.rows import chunks

CHUNK = 500
"""Sessions looked at in one statement; SQLite before 3.32 takes 999 parameters."""
AT_ONCE = 100
"""Sessions whose first or newest row is asked for in one statement."""


class ConversationIndexer:
    """What one process has already looked at in one database."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._mark: Any = None
        self._seen: Mapping[str, Any] = {}

    def sync(self) -> None:
        """Lists what is new since the last call; the first goes through all sessions."""
        with self._lock:
            mark = self._backend.mark()
            changed = None if self._mark is None else self._backend.changed_since(self._mark)
            if changed is None:
                self._scan()
            else:
                fresh = {name: at for name, at in changed.items() if self._seen.get(name) != at}
                self._update(fresh)
                self._seen = changed
            self._mark = mark

    def _scan(self) -> None:
        sql = self._backend.conversation_sql
        found = self._backend.read(sql.sessions, (CHUNK,))
        while found:
            self._update(dict(map(tuple, found)))
            found = self._backend.read(sql.more_sessions, (found[-1][0], CHUNK))

    def _update(self, newest: Mapping[str, Any]) -> None:
        """:param newest: by session, the time of a row its conversation may not know of."""
        for names in chunks(list(newest), CHUNK):
            ids = {row_values.row_id(name): name for name in names}
            states = self._backend.read(self._backend.conversation_sql.states(len(ids)), tuple(ids))
            known = {ids[row_id]: (updated_at, deleted) for row_id, updated_at, deleted in states}
            self._insert([name for name in names if name not in known])
            behind = [name for name, (at, gone) in known.items() if not gone and at < newest[name]]
            self._touch(behind)
            deleted = [name for name, (_, gone) in known.items() if gone]
            for name, *_ in self._of_each("short_origin", deleted):
                # It was deleted, and goes on: only under its lock is that sure.
                self._restore(name)

    def _insert(self, names: Sequence[str]) -> None:
        times = dict(map(tuple, self._of_each("latest", names)))
        found = [origin for origin in self._of_each("short_origin", names) if origin[0] in times]
        origins = map(self._with_value, found)
        # By their ids, here and below: two processes that do the same do not lock each other out.
        rows = sorted(_row(origin, times[origin[0]]) for origin in origins)
        self._write_each(self._backend.conversation_sql.insert_missing, rows)

    def _with_value(self, origin: Sequence[Any]) -> Sequence[Any]:
        """With the value where it is large: one at a time."""
        if origin[2] is not None:
            return origin
        (whole,) = self._backend.read(self._backend.conversation_sql.origin, (origin[0],)) or [origin]
        return cast("Sequence[Any]", whole)

    def _touch(self, names: Sequence[str]) -> None:
        times = sorted((row_values.row_id(name), at) for name, at in self._of_each("latest", names))
        touch_sql = self._backend.conversation_sql.touch_sql
        self._write_each(touch_sql, [(at, row_id, at) for row_id, at in times])

    def _write_each(self, sql: str, values: list[tuple[Any, ...]]) -> None:
        if values:
            self._backend.transact(lambda connection: connection.exec_driver_sql(sql, values))

    def _restore(self, name: str) -> None:
        self._backend.change(name, lambda execute: ensure_indexed(execute, self._backend, name))

    def _of_each(self, statement: str, names: Sequence[str]) -> Iterable[Any]:
        sql = self._backend.conversation_sql
        for some in chunks(names, AT_ONCE):
            yield from self._backend.read(sql.each(getattr(sql, statement), len(some)), tuple(some))


def ensure_indexed(execute: Execute, backend: Backend, session_id: str) -> bool:
    """Lists a conversation that is not, in its transaction. False: it has no messages."""
    sql = backend.conversation_sql
    own = execute(backend.sql.own, (row_values.row_id(session_id),)).fetchone()
    if own is not None and not own[1]:
        return True
    origin = execute(sql.origin, (session_id,)).fetchone()
    if origin is None:
        return False
    _, latest = execute(sql.latest, (session_id,)).fetchone()
    purge_previous_owner(execute, backend.sql, ConversationRow(session_id, None, ""), own)
    execute(backend.sql.upsert_sql, _row(origin, latest)[:-1])
    return True


def _row(origin: Sequence[Any], latest: Any) -> tuple[Any, ...]:
    session_id, request_id, value, created_at = origin
    listing = ConversationRow(session_id, None, title_of_row(value))
    return (listing.id, session_id, request_id, listing.key, listing.text, created_at, latest, False)
