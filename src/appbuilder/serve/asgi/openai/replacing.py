"""Which turns of a session a request replaces that goes on from an earlier one."""

from __future__ import annotations

from collections.abc import Sequence

from appbuilder.core.catalogue import Catalogue, StoredRow
from appbuilder.core.message import text_of
from appbuilder.core.store import ReplacedTurns
from appbuilder.wire.openai.messages import Talk, plain_text
from appbuilder.wire.openai.transcripts import Pair, bare, goes_on_after, pairs
from appbuilder.wire.transcript import exchange, turns

_FIRST_ROWS, _MOST_ROWS = 8, 64
"""Rows read at a time: few first, as a long text may stand in each."""
_MOST_TEXT = 8 * 1024 * 1024
"""Characters of a session's texts that are looked at."""
_MOST_RESENT = 1000
_FURTHER_TURNS = 100
"""Turns that are looked at beyond those that were sent again."""


def replaced_turns(catalogue: Catalogue, session_id: str, talk: Talk) -> ReplacedTurns | None:
    """The newest turns of a session, where the request goes on from before them. It blocks.

    :raises StoreUnavailable: the database does not answer.
    """
    resent = pairs(talk)
    stored, from_start = _newest(catalogue, session_id, min(len(resent), _MOST_RESENT) + _FURTHER_TURNS)
    said = [_pair(turn) for turn in stored]
    kept = goes_on_after(resent, talk.asked, said, from_start=from_start)
    gone = [] if kept is None else stored[kept:]
    if not gone:
        return None
    return ReplacedTurns([row.id for turn in gone for row in turn], gone[0][0].place)


def _newest(catalogue: Catalogue, session_id: str, most: int) -> tuple[list[Sequence[StoredRow]], bool]:
    """The newest turns of a session, each as its rows; and whether they are all there are."""
    rows: list[StoredRow] = []
    step, size = _FIRST_ROWS, 0
    while True:
        earlier = catalogue.rows(session_id, step, before=rows[0].place if rows else None)
        rows[:0] = earlier
        found = list(turns(rows))
        if len(earlier) < step:
            return found, True
        size += sum(len(text_of(row.value)) for row in earlier)
        if len(found) > most or size > _MOST_TEXT:
            return found[1:], False  # of the first there may be more rows before these
        step = min(2 * step, _MOST_ROWS)


def _pair(turn: Sequence[StoredRow]) -> Pair:
    said = exchange(turn)
    return bare(plain_text(said.input)), bare(text_of(said.answer))
