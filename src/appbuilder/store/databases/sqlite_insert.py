"""How a group of turns is inserted on SQLite: in a handful of statements, however many there are.

Between two statements, and two rows of a result, Python would hand its interpreter lock over.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from appbuilder import clock, jsontext
from appbuilder.store.conversations import conversation_row
from appbuilder.store.sessions import rows, statements
from appbuilder.store.sessions.message_table import TABLE
from appbuilder.store.sessions.rows import PreparedTurn

SQL = statements.make("?")
ROWS_AT_ONCE = 32
"""Rows inserted by one statement; SQLite before 3.32 takes 999 parameters."""


def encode_time(stamp: datetime) -> str:
    """SQLAlchemy's text form of a DateTime on SQLite: ``2024-07-30 15:01:10.949475``."""
    return stamp.isoformat(" ", "microseconds")


def insert_group(connection: sqlite3.Connection, group: Sequence[PreparedTurn]) -> None:
    """Inserts the turns, and tries out those that are a trial, in the caller's transaction."""
    turns = [turn for turn in group if not turn.trial]
    if turns:
        insert(connection, turns)
    for turn in group:
        if turn.trial:
            _try_out(connection, turn)


def _try_out(connection: sqlite3.Connection, turn: PreparedTurn) -> None:
    ((size,),) = connection.execute("PRAGMA cache_size").fetchall()
    connection.execute("SAVEPOINT trial")
    # With that little memory the rows are written to the log at once, which shows whether there is room.
    connection.execute("PRAGMA cache_size = 4")
    try:
        insert(connection, [turn])
        connection.execute("ROLLBACK TO trial")
    finally:
        connection.execute(f"PRAGMA cache_size = {size}")
    connection.execute("RELEASE trial")
    # To set this number, to what it is, writes the first page, and the commit flushes it to the disk.
    ((number,),) = connection.execute("PRAGMA user_version").fetchall()
    connection.execute(f"PRAGMA user_version = {number}")


def insert(connection: sqlite3.Connection, group: Sequence[PreparedTurn]) -> None:
    """Inserts the turns, in their order, in the caller's transaction."""
    newest = _newest_of(connection, {turn.session_id for turn in group})
    values: list[tuple[Any, ...]] = []
    to_list: list[tuple[PreparedTurn, datetime, bool]] = []
    for turn in group:
        last = newest.get(turn.session_id)
        first = rows.first_stamp(clock.now(), last)
        values += turn.values(first, encode_time)
        newest[turn.session_id] = turn.last(first)
        if turn.listing is not None:
            to_list.append((turn, first, last is not None))
    for some in rows.chunks(values, ROWS_AT_ONCE):
        connection.execute(_insert_of(len(some)), tuple(itertools.chain.from_iterable(some)))
    for turn in group:
        if turn.replaced:
            conversation_row.mark_replaced(connection.execute, SQL, turn)
    for turn, first, goes_on in to_list:
        conversation_row.upsert(connection.execute, SQL, turn, first, encode_time, goes_on=goes_on)


def _newest_of(connection: sqlite3.Connection, sessions: Collection[str]) -> dict[str, datetime]:
    """When the newest row of each of *sessions* is from; those that have none are left out."""
    ((found,),) = connection.execute(_NEWEST_OF, (jsontext.dumps(list(sessions)).decode(),)).fetchall()
    times = {name: text.split("|") for name, text in rows.parse(found).items() if text is not None}
    return {name: max(map(datetime.fromisoformat, both)) for name, both in times.items()}


_NEWEST_OF = (
    "SELECT json_group_object(wanted.value, (SELECT created_at || '|' || updated_at "  # noqa: S608 - a name
    f"FROM {TABLE} WHERE session_id = wanted.value ORDER BY created_at DESC, id DESC LIMIT 1)) "
    "FROM json_each(?) AS wanted"
)


@lru_cache(ROWS_AT_ONCE)
def _insert_of(rows: int) -> str:
    """``SQL.insert`` for so many rows at once."""
    head, values = SQL.insert.split("VALUES ")
    return f"{head}VALUES {', '.join([values] * rows)}"
