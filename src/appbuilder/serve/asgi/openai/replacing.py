"""Which turns of a session a request replaces that goes on from an earlier one."""

from __future__ import annotations

from collections.abc import Sequence

from appbuilder.core.catalogue import Catalogue, StoredRow
from appbuilder.core.message import text_of
from appbuilder.core.store import ReplacedTurns
from appbuilder.wire.openai.messages import Talk, plain_text
from appbuilder.wire.openai.transcripts import Pair, bare, goes_on_after, pairs
from appbuilder.wire.transcript import exchange, turns

_ROWS = 64
"""Rows read at a time."""
_MOST_TEXT = 8 * 1024 * 1024
"""Bytes of a session's texts that are looked at."""
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
    place, size = None, 0
    while True:
        read = catalogue.read_back(session_id, place, _ROWS, max(1, _MOST_TEXT - size))
        rows[:0], place = read.rows, read.next
        found = list(turns(rows))
        if place is None:
            return found, True
        size += sum(row.size for row in read.rows)
        if len(found) > most or size > _MOST_TEXT:
            return found[1:], False  # of the first there may be more rows before these


def _pair(turn: Sequence[StoredRow]) -> Pair:
    said = exchange(turn)
    return bare(plain_text(said.input)), bare(text_of(said.answer))
