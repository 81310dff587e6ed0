"""Takes conversations out of the table for good."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from appbuilder.store import conversations, follow
from appbuilder.store.backend import Backend
from appbuilder.store.listing import Execute

CHUNK = 500
"""Rows in one transaction; SQLite before 3.32 takes 999 parameters."""
LOOK = 100_000
"""Sessions found in one look, for which a database may go through the whole table."""


def erase(backend: Backend, key: str) -> int:
    """Removes the conversations whose own rows have this key; returns how many."""
    sql = backend.catalogue_sql

    def still(session_id: str) -> Callable[[Execute], bool]:
        row_id = conversations.row_id(session_id)

        def is_owned(execute: Execute) -> bool:
            # It may have been deleted and begun anew by somebody else, or over POST /chat, where nobody has
            # listed it yet.
            follow.ensure(execute, backend, session_id)
            return execute(sql.is_owned, (row_id, key)).fetchone() is not None

        return is_owned

    owned = [session_id for (session_id,) in backend.read(sql.owned, (key,))]
    return sum(_remove(backend, session_id, still(session_id)) for session_id in owned)


def prune(backend: Backend, before: datetime) -> int:
    """Removes the sessions whose newest turn is older; returns how many."""

    def still(session_id: str) -> Callable[[Execute], bool]:
        def is_old(execute: Execute) -> bool:
            (newest,) = execute(backend.catalogue_sql.newest_turn, (session_id,)).fetchone()
            return newest is None or backend.decode(newest) < before

        return is_old

    return sum(_remove(backend, name, still(name)) for name in _stale(backend, before))


def _stale(backend: Backend, before: datetime) -> Iterator[str]:
    last, at = "", backend.encode(before)
    while found := backend.read(backend.catalogue_sql.stale, (last, at, LOOK)):
        for (last,) in found:
            yield last


def _remove(backend: Backend, session_id: str, still: Callable[[Execute], bool]) -> bool:
    """Removes a session's rows, the oldest first, its conversation's own last: what tells whose it is.

    :param still: whether it is still to be removed, asked under its lock.
    """
    sql, row_id = backend.catalogue_sql, conversations.row_id(session_id)

    def work(execute: Execute) -> int | None:
        if not still(execute):
            return None
        ids = [found for (found,) in execute(sql.some_ids, (session_id, row_id, CHUNK)).fetchall()]
        gone = ids if len(ids) == CHUNK else [*ids, row_id]
        execute(sql.remove(len(gone)), tuple(gone))
        return len(ids)

    while (removed := backend.change(session_id, work)) == CHUNK:
        pass
    return removed is not None
