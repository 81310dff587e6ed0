"""A conversation that comes as a whole, from another database or another program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appbuilder import clock, jsontext
from appbuilder.core.conversations import CONVERSATION_PREFIX, FEEDBACK_KEY, Owner, StoredRow
from appbuilder.core.store import RESERVED_PREFIX, TURN_KEY
from appbuilder.errors import InvalidRequest
from appbuilder.ids import new_row_id
from appbuilder.store.conversations import row_values
from appbuilder.store.conversations.conversation_row import Execute, purge_previous_owner
from appbuilder.store.conversations.row_values import ConversationRow
from appbuilder.store.databases.base import Backend
from appbuilder.store.sessions.message_table import ID_LENGTH, KEY_LENGTH
from appbuilder.store.sessions.rows import STEP, chunks, storable

AT_ONCE = 100
"""Rows in one statement; SQLite before 3.32 takes 999 parameters."""

_EARLIEST = datetime(1970, 1, 1)  # noqa: DTZ001 - as in the table, without a zone; MySQL's begin in 1000


@dataclass(frozen=True, slots=True)
class Imported:
    """Its rows, with ids and times chosen, and how it is listed."""

    session_id: str
    rows: Sequence[tuple[str, str, str, str, datetime]]
    """Id, request id, key, JSON text, time."""
    listing: ConversationRow
    newest_turn: datetime

    @classmethod
    def of(cls, session_id: str, owner: Owner, title: str, rows: Sequence[StoredRow]) -> Imported:
        """:raises InvalidRequest: a name cannot be stored, or nothing in it is a turn."""
        for name in (session_id, *(row.request_id for row in rows)):
            _check(name, ID_LENGTH)
        ids = [new_row_id() for _ in rows]
        turn_ids = {row.id: mine for row, mine in zip(rows, ids, strict=True)}
        made, last, now = [], _EARLIEST, clock.now()
        for row, mine in zip(rows, ids, strict=True):
            row_id, text = _rating(row, turn_ids) if row.key == FEEDBACK_KEY else (mine, _text(row))
            if row_id:
                last = max(min(row.created_at, now), last + STEP)
                made.append((row_id, row.request_id, row.key, text, last))
        if len({row_id for row_id, *_ in made}) < len(made):
            raise InvalidRequest("A turn in the conversation is rated twice.")
        turns = [at for *_, key, _, at in made if _is_turn(key)]
        if not turns:
            raise InvalidRequest("There is no turn in the conversation that is to be imported.")
        return cls(session_id, made, ConversationRow(session_id, owner, title), turns[-1])

    def values(self) -> list[tuple[Any, ...]]:
        """The eight columns of each row, its own the last."""
        found = [
            (row_id, self.session_id, request_id, key, text, at, at, False)
            for row_id, request_id, key, text, at in self.rows
        ]
        listing, began, request_id = self.listing, self.rows[0][-1], self.rows[0][1]
        own = (listing.id, self.session_id, request_id, listing.key, listing.text, began)
        return [*found, (*own, self.newest_turn, False)]

    def insert(self, execute: Execute, backend: Backend) -> bool:
        """Writes it in the caller's transaction, under the session's lock; False: the session exists."""
        sql, encode = backend.conversation_sql, backend.encode
        (ours,) = execute(backend.sql.stored(1), (self.rows[0][0],)).fetchone()
        if ours:
            return True  # the connection was lost when it had been committed
        if execute(sql.owner, (self.listing.id, self.session_id)).fetchone() is not None:
            return False
        # Of a conversation that was deleted.
        own = execute(backend.sql.own, (self.listing.id,)).fetchone()
        purge_previous_owner(execute, backend.sql, self.listing, own)
        execute(sql.remove(1), (self.listing.id,))
        values = [(*row[:5], encode(row[5]), encode(row[6]), row[7]) for row in self.values()]
        for some in chunks(values, AT_ONCE):
            execute(sql.insert(len(some)), tuple(value for row in some for value in row))
        return True


def has_turn(rows: Sequence[StoredRow]) -> bool:
    """Whether there is anything to import."""
    return any(_is_turn(row.key) for row in rows)


def check(session_id: str, rows: Sequence[StoredRow]) -> None:
    """:raises InvalidRequest: this session of a file cannot be imported, with what of it cannot."""
    try:
        Imported.of(session_id, None, "", rows)
    except InvalidRequest as error:
        raise InvalidRequest(f"Session {session_id!r}: {error}") from None


def exists() -> InvalidRequest:
    """The error where the session is there already."""
    return InvalidRequest("There is a session with this id already; import it under another.")


def _is_turn(key: str) -> bool:
    return key == TURN_KEY or not key.startswith(RESERVED_PREFIX)


def _text(row: StoredRow) -> str:
    _check(row.key, KEY_LENGTH)
    if row.key.startswith(CONVERSATION_PREFIX):
        raise InvalidRequest(f"A key in the conversation begins with {CONVERSATION_PREFIX}; none may.")
    return jsontext.dumps(row.value).decode()


def _rating(row: StoredRow, turn_ids: Mapping[str, str]) -> tuple[str, str]:
    """Id and text; no id where it rates a turn that is not there."""
    try:
        turn, rating = row_values.rating_of(row.value)
    except (TypeError, LookupError, AttributeError):
        raise InvalidRequest("A rating in the conversation is not valid.") from None
    if turn not in turn_ids:
        return "", ""
    return row_values.rating_id(turn_ids[turn]), row_values.rating_text(turn_ids[turn], rating)


def _check(name: str, longest: int) -> None:
    if not name or not storable(name, longest):
        raise InvalidRequest(f"A name in the conversation is empty, longer than {longest}, or not text.")
