"""The newest turns of a conversation, or those before a place: as many as a page shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from appbuilder import jsontext
from appbuilder.core.conversations import FEEDBACK_KEY, ConversationRepository, Place, StoredRow
from appbuilder.core.store import TURN_KEY
from appbuilder.protocols.rest.transcript import turns

MOST_TURNS = 50
"""Turns of a conversation that are shown at once."""
MOST_BYTES = 1024 * 1024
"""Bytes of their rows; a single turn may have more."""
MOST_ROWS = 2000
_ROWS_AT_ONCE = 200

Turn = Sequence[StoredRow]
"""The rows of one turn."""


@dataclass(frozen=True, slots=True)
class Window:
    """Some turns of a conversation that follow each other.

    :param ratings: the rating rows found among them.
    :param earlier: the place before which there are others; None: there are none.
    """

    turns: Sequence[Turn]
    ratings: Sequence[StoredRow] = ()
    earlier: Place | None = None


def newest(
    repository: ConversationRepository,
    session_id: str,
    *,
    before: Place | None = None,
    most_turns: int = MOST_TURNS,
    most_bytes: int = MOST_BYTES,
) -> Window:
    """The newest turns (before a place), the oldest of them first.

    No more rows are read than fit, so that neither the length of a conversation nor the size of its turns
    decides what this takes.

    :raises StoreUnavailable: the database did not answer in time or refused.
    """
    rows: list[StoredRow] = []
    sizes: dict[str, int] = {}
    total = 0
    while True:
        left = max(1, most_bytes - total)
        read = repository.read_back(session_id, before, _ROWS_AT_ONCE, left)
        found, before = read.rows, read.next
        rows = [*found, *rows]
        sizes |= {row.id: len(jsontext.dumps(row.value)) for row in found}
        total = sum(sizes.values())
        if before is None:
            return _cut(rows, sizes, most_turns, most_bytes, whole=True)
        sure = _sure(rows)
        if (sure and total >= most_bytes) or sure > most_turns or len(rows) >= MOST_ROWS:
            return _cut(rows, sizes, most_turns, most_bytes, whole=False)


def _sure(rows: Sequence[StoredRow]) -> int:
    """How many turns are among *rows* for sure; of the first others may be before them."""
    found = list(turns(rows))
    return len(found) - 1 if found and found[0][-1].key != TURN_KEY else len(found)


def _cut(
    rows: Sequence[StoredRow], sizes: dict[str, int], most_turns: int, most_bytes: int, *, whole: bool
) -> Window:
    found = list(turns(rows))
    if not whole and len(found) > 1 and found[0][-1].key != TURN_KEY:
        # Its beginning may be among the earlier rows: its answer would be shown as a question.
        del found[0]
    first, size = len(found), 0
    while first > 0 and len(found) - first < most_turns:
        size += sum(sizes[row.id] for row in found[first - 1])
        if size > most_bytes and first < len(found):
            break
        first -= 1
    # Programs of the SDK stored turns that ran at the same time among each other.
    while first > 0 and any(turn[-1].place > found[first][0].place for turn in found[:first]):
        first -= 1
    kept = found[first:]
    ratings = [row for row in rows if row.key == FEEDBACK_KEY]
    more = bool(kept) and (first > 0 or not whole)
    return Window(kept, ratings, kept[0][0].place if more else None)
