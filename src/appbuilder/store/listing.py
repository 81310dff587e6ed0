"""Lists the conversation of a turn, in the turn's own transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from appbuilder.store import conversations, rows
from appbuilder.store.conversations import Listing
from appbuilder.store.rows import PreparedTurn
from appbuilder.store.statements import Statements

Execute = Callable[[str, "tuple[Any, ...]"], Any]
"""Runs a statement in the transaction; returns a cursor."""
Encode = Callable[[datetime], Any]
"""What the driver takes for a time."""


def enter(
    execute: Execute, sql: Statements, turn: PreparedTurn, first: datetime, encode: Encode, *, goes_on: bool
) -> None:
    """Inserts the conversation's row, or gives it the time of the turn, whose rows are there already.

    :param first: the time of the turn's first row.
    :param goes_on: the session held rows before.
    """
    listing = turn.listing
    if listing is None:
        return
    began, last = encode(first), encode(turn.last(first))
    if goes_on:
        if execute(sql.told, (last, listing.id)).rowcount:
            return
        origin = execute(sql.origin, (turn.session_id, began)).fetchone()
        if origin is not None:
            # Begun over POST /chat, and nobody has listed it yet.
            value, began = origin
            listing = Listing(turn.session_id, None, title_of_row(value))
    execute(
        sql.list_it,
        (listing.id, turn.session_id, turn.request_id, listing.key, listing.text, began, last),
    )


def title_of_row(stored: Any) -> str:
    """The title of a conversation whose first row has this value."""
    try:
        return conversations.title_of_message(rows.parse(stored))
    except ValueError:
        return ""  # damaged, and no reason to refuse a turn
