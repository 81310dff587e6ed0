"""Lists the conversation of a turn, in the turn's own transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from appbuilder.errors import NotFound
from appbuilder.store.conversations import row_values
from appbuilder.store.conversations.row_values import ConversationRow
from appbuilder.store.sessions import rows
from appbuilder.store.sessions.rows import PreparedTurn
from appbuilder.store.sessions.statements import Statements

Execute = Callable[[str, "tuple[Any, ...]"], Any]
"""Runs a statement in the transaction; returns a cursor."""
Encode = Callable[[datetime], Any]
"""What the driver takes for a time."""
MOST_AT_ONCE = 500
"""Rows in one statement; SQLite before 3.32 takes 999 parameters."""


def upsert(
    execute: Execute, sql: Statements, turn: PreparedTurn, first: datetime, encode: Encode, *, goes_on: bool
) -> None:
    """Inserts the conversation's row, or gives it the time of the turn, whose rows are there already.

    :param first: the time of the turn's first row.
    :param goes_on: the session held rows before.
    :raises NotFound: the conversation is another owner's, who was given it since this turn began.
    """
    listing = turn.listing
    if listing is None:
        return
    began, last = encode(first), encode(turn.last(first))
    if goes_on:
        if execute(sql.told, (last, listing.id, listing.key)).rowcount:
            return
        own = execute(sql.own, (listing.id,)).fetchone()
        if own is not None and not own[1]:
            raise no_session()
        origin = execute(sql.origin, (turn.session_id, began)).fetchone()
        if origin is not None:
            # Begun over POST /chat, and not listed yet.
            value, began = origin
            listing = ConversationRow(turn.session_id, None, title_of_row(value))
        purge_previous_owner(execute, sql, listing, own)
    execute(
        sql.upsert_sql,
        (listing.id, turn.session_id, turn.request_id, listing.key, listing.text, began, last),
    )


def mark_replaced(execute: Execute, sql: Statements, turn: PreparedTurn) -> None:
    """Marks the rows that a turn replaces as deleted, in the turn's own transaction."""
    for some in rows.chunks(turn.replaced, MOST_AT_ONCE):
        execute(sql.replace(len(some)), (turn.session_id, *some))


def purge_previous_owner(
    execute: Execute, sql: Statements, listing: ConversationRow, own: Sequence[Any] | None
) -> None:
    """Removes what another owner deleted in the session, before the row goes that tells whose it was: no one
    could erase it any more.

    :param own: key and flag of the session's own row, as ``Statements.own`` gives it.
    """
    if own is not None and own[1] and own[0] != listing.key:
        execute(sql.clear, (listing.session_id,))


def no_session() -> NotFound:
    """The error where a conversation is another owner's."""
    return NotFound("There is no such session.")


def title_of_row(stored: Any) -> str:
    """The title of a conversation whose first row has this value."""
    try:
        return row_values.title_of_message(rows.parse(stored))
    except ValueError:
        return ""  # damaged, and no reason to refuse a turn
