"""From messages to rows and back; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import orjson

from appbuilder import jsontext
from appbuilder.core.store import INCOMPLETE, STATE, TURN_KEY, TurnRecord
from appbuilder.ids import new_row_id
from appbuilder.logs import logger
from appbuilder.store.conversations.row_values import ConversationRow, rating_id

_T = TypeVar("_T")

STEP = timedelta(microseconds=1)
MAX_LIMIT = 2**31 - 1

# Numbers that may not fit 64 bits: orjson would read them as floats.
_LONG_NUMBER = re.compile(r"[0-9]{19}")

Page = Callable[[int, "tuple[Any, str] | None"], Sequence["tuple[str, Any, str]"]]
"""(limit, (created_at, id) of the row before which to go on) -> value, created_at, id; newest first."""


@dataclass(frozen=True, slots=True)
class PreparedTurn:
    """A turn ready to be inserted: JSON written, row ids chosen, so that a retry writes the same rows."""

    session_id: str
    request_id: str
    rows: tuple[tuple[str, str, str], ...]
    """Row id, message key, message as JSON text; in the order they were appended."""
    listing: ConversationRow | None = None
    """How its conversation is listed, if it is."""
    replaced: tuple[str, ...] = ()
    """Ids of the rows that are marked deleted with it, those of ratings among them."""
    trial: bool = False
    """Inserted as any other, and taken back before the commit."""

    @classmethod
    def of(cls, turn: TurnRecord) -> PreparedTurn:
        rows = tuple((new_row_id(), key, jsontext.dumps(value).decode()) for key, value in turn.rows)
        entry = turn.entry
        replaced = (*turn.replaced, *map(rating_id, turn.replaced))
        if entry is None:
            return cls(turn.session_id, turn.request_id, rows, None, replaced)
        listing = ConversationRow(turn.session_id, entry.owner, entry.title)
        if entry.value:
            rows = (*rows, (entry.row_id, TURN_KEY, jsontext.dumps(entry.value).decode()))
        return cls(turn.session_id, turn.request_id, rows, listing, replaced)

    @property
    def ids(self) -> list[str]:
        return [row_id for row_id, _, _ in self.rows]

    def last(self, first: datetime) -> datetime:
        """The time of the turn's last row, where *first* is that of its first."""
        return first + (len(self.rows) - 1) * STEP

    def values(self, first: datetime, encode: Callable[[datetime], Any]) -> list[tuple[Any, ...]]:
        """The parameters of the insert, one tuple a row; times step by a microsecond from *first*."""
        result = []
        for number, (row_id, key, text) in enumerate(self.rows):
            stamp = encode(first + number * STEP)
            result.append((row_id, self.session_id, self.request_id, key, text, stamp, stamp))
        return result


def chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """*items* in their order, at most *size* at once."""
    return (items[at : at + size] for at in range(0, len(items), size))


def within(
    found: Iterable[_T], limit: int, most_bytes: int, size: Callable[[_T], int]
) -> tuple[list[_T], bool]:
    """The first of the rows *found*, as many as fit, and at least one; and whether there are others."""
    taken: list[_T] = []
    for row in found:
        most_bytes -= size(row)
        if taken and (most_bytes < 0 or len(taken) >= limit):
            return taken, True
        taken.append(row)
    return taken, False


def first_stamp(now: datetime, newest: datetime | None) -> datetime:
    """When a turn happened: now, but always after what its session already holds."""
    return now if newest is None or now > newest else newest + STEP


def newest_finished(page: Page, limit: int, after: tuple[Any, str] | None = None) -> list[dict[str, Any]]:
    """The newest *limit* messages that are not marked incomplete, oldest first.

    :param after: place of the row before which they stand.
    """
    found: list[dict[str, Any]] = []
    wanted = min(limit, MAX_LIMIT)
    while wanted > 0:
        rows = page(wanted, after)
        found.extend(value for value in map(_read, rows) if value is not None)
        if len(rows) < wanted or len(found) >= limit:
            break
        after = rows[-1][1:]
        wanted = min(2 * wanted, MAX_LIMIT)
    found = found[:limit]
    found.reverse()
    return found


def _read(row: tuple[str, Any, str]) -> dict[str, Any] | None:
    """The message of a finished turn; None for others."""
    try:
        value = parse(row[0])
    except ValueError:
        # One damaged row must not close its session for ever.
        logger.warning("row %s of the conversations is not JSON; it is left out", row[2])
        return None
    if not isinstance(value, dict):
        return {"content": value}  # some other program wrote it
    return None if value.get(STATE) == INCOMPLETE else value


def storable(name: str, longest: int) -> bool:
    """False for what cannot be written as an id or a key."""
    return len(name) <= longest and is_valid_query(name)


def is_valid_query(name: str) -> bool:
    """False for what no database takes as text. Ids may be longer than ours: SQLite took such of the SDK."""
    return "\0" not in name and name.encode("utf-8", "ignore").decode() == name


def parse(text: Any) -> Any:
    """A stored JSON text; NaN, which the SDK may have written, is read as such."""
    if not isinstance(text, str):
        return text  # SQLite keeps a JSON text that is a mere number as that number
    if _LONG_NUMBER.search(text):
        return json.loads(text)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)
