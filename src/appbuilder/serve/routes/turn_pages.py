"""The turns of a session, in pages from the newest back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from appbuilder.core.conversations import ConversationRepository, Place, StoredRow
from appbuilder.core.store import TURN_KEY
from appbuilder.errors import InvalidRequest
from appbuilder.protocols.rest.transcript import TurnView, turn_view, turns

_ROWS_A_TURN = 4
_NEWEST_ROWS = 200
"""Rows in which the newest turns of a session are, with what its component keeps of a turn."""
MOST_ROWS = 4000
"""Rows that are read for one page: a turn may have many, and of one that has more the newest are reported."""
_CURSOR = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})~(.{1,36})", re.ASCII)


@dataclass(frozen=True, slots=True)
class TurnPage:
    """Some turns in the order they were said; ``next`` is the cursor of earlier ones, None at the end."""

    turns: Sequence[TurnView]
    next: str | None


def newest_turns(
    repository: ConversationRepository, session_id: str, limit: int, cursor: str | None, most_bytes: int
) -> TurnPage:
    """The newest *limit* turns, or those before *cursor*, in at most *most_bytes*. It blocks.

    A turn that is larger is given alone.

    :raises InvalidRequest: *cursor* is not a cursor of this session.
    """
    place, left = _place(cursor), most_bytes
    rows: list[StoredRow] = []
    while True:
        step = min(max(_ROWS_A_TURN * limit, len(rows)), MOST_ROWS - len(rows))
        read = repository.read_back(session_id, place, step, max(1, left))
        rows[:0], place = read.rows, read.next
        left -= sum(row.size for row in read.rows)
        found = list(turns(rows))
        # Of the first turn there may be more rows before these.
        if place is None or len(found) > limit or len(rows) >= MOST_ROWS:
            break
        if len(read.rows) < step and found:  # the bytes have come to their end
            if len(found) == 1:
                outline = repository.outline(session_id, place, MOST_ROWS - len(rows), longest=0)
                rows[:0], place, limit = outline.rows, outline.next, 1
                found = list(turns(rows))
            break
    if place is not None and len(found) > 1:
        found = found[1:]
    told = found[-limit:]
    exchanges = [_exchange(repository, session_id, each) for each in told]
    if place is None and len(told) == len(found):
        return TurnPage(exchanges, None)
    first = told[0][0].place if told else place
    return TurnPage(exchanges, None if first is None else _cursor(first))


def _exchange(repository: ConversationRepository, session_id: str, turn: Sequence[StoredRow]) -> TurnView:
    """What was said in a turn of which some rows may only be outlined.

    What says it all are its own row, or its first and its last.
    """
    ends = turn[-1:] if turn[-1].key == TURN_KEY or len(turn) == 1 else (turn[0], turn[-1])
    return turn_view([
        each if each.value is not None
        else next(iter(repository.read_on(session_id, (each.created_at, ""), 1, 1).rows), each)
        for each in ends
    ])


def newest_turn_ids(repository: ConversationRepository, session_id: str) -> list[str]:
    """The ids of a session's newest turns, the newest last. It blocks."""
    rows = repository.outline(session_id, None, _NEWEST_ROWS, longest=0).rows
    return [turn_view(turn).id for turn in turns(rows)]


def _cursor(place: Place) -> str:
    at, row_id = place
    return f"{at.isoformat(timespec='microseconds')}~{row_id}"


def _place(cursor: str | None) -> Place | None:
    if cursor is None:
        return None
    match = _CURSOR.fullmatch(cursor)
    try:
        if match is not None:
            return datetime.fromisoformat(match[1]), match[2]
    except ValueError:
        pass  # a month 13
    raise InvalidRequest("The cursor is not one of this session: begin again without it.")
