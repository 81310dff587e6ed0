"""Takes conversations out of the table for good."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from appbuilder.store import conversations, follow
from appbuilder.store.backend import Backend
from appbuilder.store.listing import Execute
from appbuilder.store.rows import within

CHUNK = 500
"""Rows in one transaction; SQLite before 3.32 takes 999 parameters."""
CHUNK_BYTES = 4 * 1024 * 1024
"""Text of the rows in one transaction: SQLite reads and writes all of it, and turns wait meanwhile."""
PAUSE = 0.05
"""Seconds between one such transaction and the next, in which turns are written."""
MARKED = 5000
"""Rows that are marked as deleted in one transaction."""
LOOK = 100_000
"""Sessions found in one look, for which a database may go through the whole table."""


def erase(backend: Backend, key: str) -> Iterator[int]:
    """Removes the conversations whose own rows have this key.

    Each step is one transaction, and gives how many conversations are gone with it.
    """
    sql = backend.catalogue_sql

    def still(session_id: str) -> Callable[[Execute], bool]:
        row_id = conversations.row_id(session_id)

        def is_owned(execute: Execute) -> bool:
            # It may have been deleted and begun anew by somebody else, or over POST /chat, where nobody has
            # listed it yet.
            follow.ensure(execute, backend, session_id)
            return execute(sql.is_owned, (row_id, key)).fetchone() is not None

        return is_owned

    for (session_id,) in backend.read(sql.owned, (key,)):
        yield from _remove(backend, session_id, still(session_id))


def prune(backend: Backend, before: datetime) -> int:
    """Removes the sessions whose newest turn is older; returns how many."""

    def still(session_id: str) -> Callable[[Execute], bool]:
        def is_old(execute: Execute) -> bool:
            (newest,) = execute(backend.catalogue_sql.newest_turn, (session_id,)).fetchone()
            return newest is None or backend.decode(newest) < before

        return is_old

    return sum(sum(_remove(backend, name, still(name))) for name in _stale(backend, before))


def _stale(backend: Backend, before: datetime) -> Iterator[str]:
    last, at = "", backend.encode(before)
    while found := backend.read(backend.catalogue_sql.stale, (last, at, LOOK)):
        for (last,) in found:
            yield last


def _remove(backend: Backend, session_id: str, still: Callable[[Execute], bool]) -> Iterator[int]:
    """Removes a session's rows, the oldest first, its conversation's own last: what tells whose it is.

    :param still: whether it is still to be removed, asked under its lock.
    """
    sql, row_id = backend.catalogue_sql, conversations.row_id(session_id)

    def work(execute: Execute) -> tuple[bool, bool]:
        """Whether there are more rows, and whether the conversation is gone."""
        if not still(execute):
            return False, False
        found = execute(sql.some_ids, (session_id, row_id, CHUNK + 1)).fetchall()
        some, more = within(found, CHUNK, CHUNK_BYTES, lambda row: int(row[1]))
        gone = [each for each, _ in some] + ([] if more else [row_id])
        execute(sql.remove(len(gone)), tuple(gone))
        return more, not more

    more = True
    while more:
        more, is_gone = backend.change(session_id, work)
        yield int(is_gone)


def delete_oldest(execute: Execute, backend: Backend, session_id: str) -> bool:
    """Marks the oldest rows of a large session as deleted; False: what is left of it is not large."""
    sql, row_id = backend.catalogue_sql, conversations.row_id(session_id)
    found = execute(sql.sizes_alive, (session_id, row_id, MARKED + 1)).fetchall()
    some, more = within(found, MARKED, CHUNK_BYTES, lambda row: int(row[1]))
    if more:
        execute(sql.drop_until, (session_id, row_id, some[-1][0]))
    return more
