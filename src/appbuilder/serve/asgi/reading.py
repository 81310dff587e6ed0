"""The turns of a session, in pages from the newest back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from appbuilder.core.catalogue import Catalogue, Place, StoredRow
from appbuilder.errors import InvalidRequest
from appbuilder.wire.transcript import Exchange, exchange, turns

_ROWS_A_TURN = 4
MOST_ROWS = 4000
"""Rows that are read for one page: a turn may have many, and of one that has more the newest are told."""
_CURSOR = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})~(.{1,36})", re.ASCII)


@dataclass(frozen=True, slots=True)
class TurnPage:
    """Some turns in the order they were said; ``next`` is the cursor of earlier ones, None at the end."""

    turns: Sequence[Exchange]
    next: str | None


def newest_turns(catalogue: Catalogue, session_id: str, limit: int, cursor: str | None) -> TurnPage:
    """The newest *limit* turns, or those before *cursor*. It blocks.

    :raises InvalidRequest: *cursor* is none of ours.
    """
    before = _place(cursor)
    rows: list[StoredRow] = []
    while True:
        step = min(max(_ROWS_A_TURN * limit, len(rows)), MOST_ROWS - len(rows))
        earlier = catalogue.rows(session_id, step, before=rows[0].place if rows else before)
        rows[:0] = earlier
        found = list(turns(rows))
        # Of the first turn there may be more rows before these.
        if not earlier or len(found) > limit or len(rows) >= MOST_ROWS:
            break
    if earlier and len(found) > 1:
        found = found[1:]
    told = found[-limit:]
    first = told[0][0] if told else rows[0] if rows else None
    return TurnPage([exchange(each) for each in told], _cursor(first) if first and earlier else None)


def _cursor(row: StoredRow) -> str:
    at, row_id = row.place
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
