"""Which turns of a session a request replaces that goes on from an earlier one."""

from __future__ import annotations

from collections.abc import Sequence

from appbuilder.core.conversations import ConversationRepository, StoredRow
from appbuilder.core.message import text_of
from appbuilder.core.store import TURN_KEY, ReplacedTurns
from appbuilder.protocols.openai.history_digest import Pair, bare, goes_on_after, pairs
from appbuilder.protocols.openai.messages import Conversation, plain_text
from appbuilder.protocols.rest.transcript import turn_view, turns

_MOST_BYTES = 8 * 1024 * 1024
"""Of a session's texts that are looked at."""
_MOST_RESENT = 1000
"""Turns a client sent again that are looked for..."""
_FURTHER_TURNS = 100
"""...and turns that are looked at beyond as many."""
_MOST_TRIES = 10
"""Turns, tries to answer the first question, that one more replaces."""
_ROWS_A_TURN = 4


def replaced_turns(
    repository: ConversationRepository, session_id: str, talk: Conversation
) -> ReplacedTurns | None:
    """The newest turns of a session, where the request goes on from before them. It blocks.

    :raises StoreUnavailable: the database does not answer.
    """
    resent = pairs(talk)
    further = _FURTHER_TURNS if resent else _MOST_TRIES
    most = _ROWS_A_TURN * (min(len(resent), _MOST_RESENT) + further)
    if _goes_on(repository, session_id, resent, most):
        return None
    stored, from_start = _newest(repository, session_id, most)
    said = [_pair(turn) for turn in stored]
    kept = goes_on_after(resent, talk.asked, said, from_start=from_start)
    gone = [] if kept is None else stored[kept:]
    if not gone:
        return None
    return ReplacedTurns([row.id for turn in gone for row in turn], gone[0][0].place)


def _goes_on(repository: ConversationRepository, session_id: str, resent: Sequence[Pair], most: int) -> bool:
    """Whether a request simply goes on: as many turns are stored as were sent again, the newest the same.

    Nearly all do, and only one turn is read for it.
    """
    outline = repository.outline(session_id, None, most, longest=0)
    there = list(turns(outline.rows))
    if outline.next is not None or len(there) != len(resent):
        return not there
    if not there:
        return True
    newest = there[-1][-1]
    found = repository.own_turns([newest.id]).get(newest.id) if newest.key == TURN_KEY else None
    return found is not None and _pair([found[1]]) == resent[-1]


def _newest(
    repository: ConversationRepository, session_id: str, most: int
) -> tuple[list[Sequence[StoredRow]], bool]:
    """The newest turns of a session, each as its rows; and whether they are all there are."""
    rows: list[StoredRow] = []
    place, left = None, _MOST_BYTES
    while True:
        read = repository.read_back(session_id, place, most - len(rows), max(1, left))
        rows[:0], place = read.rows, read.next
        left -= sum(row.size for row in read.rows)
        if place is None:
            return list(turns(rows)), True
        if left <= 0 or len(rows) >= most or not read.rows:
            return list(turns(rows))[1:], False  # of the first there may be more rows before these


def _pair(turn: Sequence[StoredRow]) -> Pair:
    said = turn_view(turn)
    return bare(plain_text(said.input)), bare(text_of(said.answer))
