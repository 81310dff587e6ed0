"""Takes conversations out of the table for good."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice

from appbuilder.store.conversations import indexer, row_values
from appbuilder.store.conversations.conversation_row import Execute
from appbuilder.store.databases.base import Backend
from appbuilder.store.sessions.rows import within

CHUNK = 500
"""Rows in one transaction; SQLite before 3.32 takes 999 parameters."""
CHUNK_BYTES = 4 * 1024 * 1024
"""Text of the rows in one transaction: SQLite reads and writes all of it, and turns wait meanwhile."""
PAUSE = 0.05
"""Seconds, at least, between one such transaction and the next, in which turns are written."""
MARKED = 5000
"""Rows that are marked as deleted in one transaction."""
Still = Callable[[Execute], bool]
LOOK = 100_000
"""Sessions found in one look, for which a database may go through the whole table."""


def erase(backend: Backend, key: str) -> Iterator[int]:
    """Removes the conversations whose own rows have this key.

    Each step is one transaction, and gives how many conversations are gone with it.
    """
    sql = backend.conversation_sql

    def still(session_id: str) -> Still:
        row_id = row_values.row_id(session_id)

        def is_owned(execute: Execute) -> bool:
            # It may have been deleted and started again by another owner, or over POST /chat, not yet
            # listed it yet.
            indexer.ensure_indexed(execute, backend, session_id)
            return execute(sql.is_owned, (row_id, key)).fetchone() is not None

        return is_owned

    yield from _remove_all(backend, (name for (name,) in backend.read(sql.owned, (key,))), still)


def prune(backend: Backend, before: datetime) -> int:
    """Removes the sessions whose newest turn is older; returns how many."""

    def still(session_id: str) -> Still:
        def is_old(execute: Execute) -> bool:
            (newest,) = execute(backend.conversation_sql.newest_turn, (session_id,)).fetchone()
            return newest is None or backend.decode(newest) < before

        return is_old

    return sum(_remove_all(backend, _stale(backend, before), still))


def _stale(backend: Backend, before: datetime) -> Iterator[str]:
    last, at = "", backend.encode(before)
    while found := backend.read(backend.conversation_sql.stale, (last, at, LOOK)):
        for (last,) in found:
            yield last


def _remove_all(backend: Backend, names: Iterator[str], still: Callable[[str], Still]) -> Iterator[int]:
    """Removes sessions, as many in one transaction as the backend takes; gives how many are gone with each.

    :param still: of a session, whether it is still to be removed, asked under its lock.
    """
    some = list(islice(names, backend.together))
    while some:
        room = _Quota()
        works = [(name, partial(_remove, backend, name, still(name), room)) for name in some]
        done = backend.change_each(works)
        yield done.count(True)
        rest = [name for name, gone in zip(some, done, strict=True) if gone is None]
        some = rest + list(islice(names, backend.together - len(rest)))


@dataclass(slots=True)
class _Quota:
    """What may still be removed in one transaction."""

    rows: int = CHUNK
    size: int = field(default_factory=lambda: CHUNK_BYTES)


def _remove(backend: Backend, session_id: str, still: Still, room: _Quota, execute: Execute) -> bool | None:
    """Removes a session's rows, the oldest first, its conversation's own last: what tells whose it is.

    Returns whether it is gone; None: not yet, there are more of its rows than there is room for.
    """
    sql, row_id = backend.conversation_sql, row_values.row_id(session_id)
    if room.rows <= 0 or room.size <= 0:
        return None
    if not still(execute):
        return False
    with closing(execute(sql.some_ids, (session_id, row_id, room.rows + 1))) as found:
        some, more = within(found, room.rows, room.size, lambda row: int(row[1]))
    room.rows -= len(some) + 1
    room.size -= sum(int(size) for _, size in some)
    gone = [each for each, _ in some] + ([] if more else [row_id])
    execute(sql.remove(len(gone)), tuple(gone))
    return None if more else True


def delete_oldest(execute: Execute, backend: Backend, session_id: str) -> bool:
    """Marks the oldest rows of a large session as deleted; False: what is left of it is not large."""
    sql, row_id = backend.conversation_sql, row_values.row_id(session_id)
    # Not all of them: SQLite reads a text to tell its length.
    with closing(execute(sql.sizes_alive, (session_id, row_id, MARKED + 1))) as found:
        some, more = within(found, MARKED, CHUNK_BYTES, lambda row: int(row[1]))
    if more:
        execute(sql.drop_until, (session_id, row_id, some[-1][0]))
    return more
