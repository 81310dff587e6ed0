"""Conversations in memory, with the behaviour of those in SQL: what the stores are compared with, and what
tests use where the database does not matter."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from appbuilder import clock
from appbuilder.core.conversations import (
    FEEDBACK_KEY,
    OUTLINED,
    Conversation,
    ConversationPage,
    NewSession,
    Owner,
    Place,
    Rating,
    SomeRows,
    StoredRow,
)
from appbuilder.core.store import RESERVED_PREFIX, TURN_KEY, TurnRecord
from appbuilder.store.conversations import row_values
from appbuilder.store.conversations.conversation_row import title_of_row
from appbuilder.store.conversations.imports import Imported, exists
from appbuilder.store.conversations.row_values import ConversationRow, Cursor
from appbuilder.store.sessions import rows
from appbuilder.store.sessions.rows import PreparedTurn
from tests.memory_table import MemoryTable, Row


class MemoryStore:
    """A :class:`appbuilder.core.store.SessionStore` that forgets everything with the process."""

    def __init__(self) -> None:
        self._table = MemoryTable()
        self._repository = MemoryCatalogue(self._table)

    def history(
        self, session_id: str, key: str, limit: int, before: tuple[datetime, str] | None = None
    ) -> list[dict[str, Any]]:
        if limit <= 0:
            return []
        with self._table.lock:
            stored = [row for row in self._table.by_key.get((session_id, key), ()) if not row.deleted]
        newest_first = [
            (row.text, "", "")
            for row in reversed(stored)
            if before is None or (row.created_at, row.id) < before
        ]

        def page(count: int, after: tuple[Any, str] | None) -> Sequence[tuple[str, Any, str]]:
            # The first page is all there is.
            return newest_first if after is None else ()

        return rows.newest_finished(page, limit)

    def commit(self, turn: TurnRecord) -> None:
        if not turn.rows and turn.entry is None:
            return
        prepared = PreparedTurn.of(turn)
        with self._table.lock:
            self._table.write(prepared)

    def repository(self) -> MemoryCatalogue:
        """The conversations in it, as lists show them."""
        return self._repository

    def prepare_conversations(self) -> None:
        """Nothing to make."""

    failures = 0

    def check_writable(self, timeout: float) -> None:
        """Always is."""

    def ping(self) -> None:
        """Always answers."""

    def close(self) -> None:
        """Nothing to give back."""


class MemoryCatalogue:
    """A :class:`appbuilder.core.conversations.ConversationRepository` of what is in memory."""

    def __init__(self, table: MemoryTable) -> None:
        self._table = table
        self._ended: dict[str, datetime] = {}

    def page(
        self, owners: Sequence[Owner] | None, *, search: str = "", limit: int = 20, cursor: str | None = None
    ) -> ConversationPage:
        after = Cursor.read(cursor)
        wanted = row_values.fold(" ".join(search.split()))
        if limit <= 0:
            return ConversationPage([], None)
        with self._table.lock:
            listed = [row for row in map(self._listed, list(self._table.by_session)) if row is not None]
        found = [(Cursor(row.updated_at, row.id), _conversation(row)) for row in listed]
        return row_values.page_of(
            (
                (place, each)
                for place, each in found
                if (owners is None or each.owner in owners)
                and wanted in row_values.fold(each.title)
                and (after is None or place < after)
            ),
            limit,
        )

    def owner_of(self, session_id: str) -> tuple[bool, Owner]:
        found = self.find(session_id)
        return found is not None, None if found is None else found.owner

    def find(self, session_id: str) -> Conversation | None:
        with self._table.lock:
            row = self._listed(session_id)
            return None if row is None else _conversation(row)

    def rows(self, session_id: str, limit: int, *, before: Place | None = None) -> list[StoredRow]:
        stored = [row for row in self._rows(session_id) if before is None or row.place < before]
        return stored[-limit:] if limit > 0 else []

    def read_back(self, session_id: str, before: Place | None, limit: int, most_bytes: int) -> SomeRows:
        stored = [row for row in reversed(self._rows(session_id)) if before is None or row.place < before]
        return _some(stored, limit, most_bytes).reversed()

    def read_on(self, session_id: str, after: Place | None, limit: int, most_bytes: int) -> SomeRows:
        stored = [row for row in self._rows(session_id) if after is None or row.place > after]
        return _some(stored, limit, most_bytes)

    def outline(
        self, session_id: str, before: Place | None, limit: int, *, longest: int = OUTLINED
    ) -> SomeRows:
        found = self.read_back(session_id, before, limit, sys.maxsize)
        small = [each if each.size <= longest else replace(each, value=None) for each in found.rows]
        return SomeRows(small, found.next)

    def _rows(self, session_id: str) -> list[StoredRow]:
        with self._table.lock:
            stored = [row for row in self._table.by_session.get(session_id, ()) if not row.deleted]
        return [
            StoredRow(row.id, row.request_id, row.key, rows.parse(row.text), row.created_at, len(row.text))
            for row in stored
        ]

    def rename(self, session_id: str, title: str) -> bool:
        with self._table.lock:
            row = self._listed(session_id)
            if row is not None:
                row.text = row_values.renamed(row.text, title)
            return row is not None

    def delete(self, session_id: str) -> bool:
        with self._table.lock:
            listed = self._listed(session_id)
            if listed is None:
                return False
            for row in (listed, *self._table.by_session[session_id]):
                row.deleted = True
            return True

    def erase(self, owner: Owner) -> int:
        key = row_values.owner_key(owner)
        with self._table.lock:
            for session_id in list(self._table.by_session):
                self._listed(session_id)
            owned = [row.session_id for row in self._table.by_id.values() if row.key == key]
            return self._remove(owned)

    def erasing(self, owner: Owner) -> Iterator[int]:
        yield self.erase(owner)

    def prune(self, before: datetime) -> int:
        with self._table.lock:
            turns = {name: [row for row in found if row.key != FEEDBACK_KEY]
                     for name, found in self._table.by_session.items()}
            stale = [name for name, found in turns.items() if found and found[-1].created_at < before]
            return self._remove(stale)

    def _remove(self, names: Sequence[str]) -> int:
        for name in names:
            self._table.remove_session(name, row_values.row_id(name))
        return len(names)

    def import_rows(self, session_id: str, owner: Owner, title: str, rows: Sequence[StoredRow]) -> None:
        if not all(self.import_sessions([NewSession(session_id, owner, title, rows)])):
            raise exists()

    def import_sessions(self, sessions: Sequence[NewSession]) -> Sequence[bool]:
        found = [Imported.of(each.session_id, each.owner, each.title, each.rows) for each in sessions]
        with self._table.lock:
            return [self._import(each) for each in found]

    def _import(self, imported: Imported) -> bool:
        if self._listed(imported.session_id) is not None:
            return False
        self._table.clear_others(imported.listing)
        for values in imported.values():
            self._table.insert(Row(*values))
        return True

    def tokens_since(self, session_id: str, since: datetime) -> int:
        with self._table.lock:
            stored = self._table.by_key.get((session_id, TURN_KEY), ())
            recent = [row.text for row in stored if not row.deleted and row.created_at >= since]
        return sum(map(row_values.tokens_of, recent))

    def conversation_of(self, turn_id: str) -> str | None:
        with self._table.lock:
            turn = self._turn(turn_id)
            return None if turn is None else turn.session_id

    def own_turns(self, turn_ids: Sequence[str]) -> Mapping[str, tuple[str, StoredRow]]:
        with self._table.lock:
            found = [row for row in map(self._turn, turn_ids) if row is not None and row.key == TURN_KEY]
        return {
            row.id: (
                row.session_id,
                StoredRow(row.id, row.request_id, row.key, rows.parse(row.text), row.created_at),
            )
            for row in found
        }

    def rate(self, turn_id: str, rating: Rating) -> bool:
        with self._table.lock:
            turn = self._turn(turn_id)
            if turn is None:
                return False
            row_id, text = row_values.rating_id(turn_id), row_values.rating_text(turn_id, rating)
            known, at = self._table.by_id.get(row_id), self._table.next_stamp(turn.session_id)
            if known is not None:
                known.text, known.updated_at, known.deleted = text, at, False
                return True
            who = (row_id, turn.session_id, turn.request_id, FEEDBACK_KEY)
            self._table.insert(Row(*who, text, at, at))
            return True

    def ratings(self, turn_ids: Sequence[str]) -> Mapping[str, Rating]:
        with self._table.lock:
            found = [self._table.by_id.get(row_values.rating_id(turn_id)) for turn_id in turn_ids]
            alive = [row for row in found if row is not None and not row.deleted]
            return dict(row_values.rating_of(rows.parse(row.text)) for row in alive)

    def unrate(self, turn_id: str) -> bool:
        with self._table.lock:
            row = self._table.by_id.get(row_values.rating_id(turn_id))
            if row is None or row.deleted:
                return False
            row.deleted = True
            return True

    def end_login(self, login: str, until: datetime) -> None:
        with self._table.lock:
            now = clock.now()
            self._ended = {each: kept for each, kept in self._ended.items() if kept >= now} | {login: until}

    def is_ended(self, login: str) -> bool:
        return login in self._ended

    def _turn(self, turn_id: str) -> Row | None:
        row = self._table.by_id.get(turn_id)
        return row if row is not None and not row.deleted and _is_turn(row) else None

    def _listed(self, session_id: str) -> Row | None:
        """The conversation's own row, as new as its newest turn; None: there is no such conversation."""
        stored = self._table.by_session.get(session_id, ())
        latest = next((row for row in reversed(stored) if row.key != FEEDBACK_KEY and not row.deleted), None)
        if latest is None:
            return None
        row = self._table.by_id.get(row_values.row_id(session_id))
        if row is None or row.deleted:
            first = self._table.first_message(session_id)
            if first is None:
                return None
            listing = ConversationRow(session_id, None, title_of_row(first.text))
            self._table.clear_others(listing)
            who = (listing.id, session_id, first.request_id, listing.key)
            row = Row(*who, listing.text, first.created_at, latest.created_at)
            self._table.insert(row)
        row.updated_at = latest.created_at
        return row


def _some(stored: Sequence[StoredRow], limit: int, most_bytes: int) -> SomeRows:
    if limit <= 0:
        return SomeRows([], None)
    found, more = rows.within(stored, limit, most_bytes, lambda row: row.size)
    return SomeRows(found, found[-1].place if more else None)


def _is_turn(row: Row) -> bool:
    return row.key == TURN_KEY or not row.key.startswith(RESERVED_PREFIX)


def _conversation(row: Row) -> Conversation:
    return row_values.read(row.session_id, row.text, row.created_at, row.updated_at)
