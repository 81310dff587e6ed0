"""The table of the store in memory."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from appbuilder import clock
from appbuilder.core.conversations import CONVERSATION_PREFIX
from appbuilder.core.store import RESERVED_PREFIX
from appbuilder.store.conversations.conversation_row import no_session, title_of_row
from appbuilder.store.conversations.row_values import NOBODY, ConversationRow
from appbuilder.store.sessions import rows
from appbuilder.store.sessions.rows import PreparedTurn


@dataclass(slots=True)
class Row:
    """A row of the table, its value as JSON text, so that what comes back is what a database gives."""

    id: str
    session_id: str
    request_id: str
    key: str
    text: str
    created_at: datetime
    updated_at: datetime
    deleted: bool = False


class MemoryTable:
    """Rows by what they are asked for. Who uses it holds its lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_id: dict[str, Row] = {}
        self.by_session: dict[str, list[Row]] = defaultdict(list)
        """In commit order, without the conversations' own rows."""
        self.by_key: dict[tuple[str, str], list[Row]] = defaultdict(list)

    def write(self, turn: PreparedTurn) -> None:
        """Adds a turn's rows, and lists its conversation.

        :raises NotFound: the conversation is another owner's.
        """
        if turn.listing is not None:
            own = self.by_id.get(turn.listing.id)
            if own is not None and not own.deleted and own.key not in (turn.listing.key, NOBODY):
                raise no_session()
        first = self.next_stamp(turn.session_id)
        for values in turn.values(first, lambda stamp: stamp):
            self.insert(Row(*values))
        for row_id in turn.replaced:
            row = self.by_id.get(row_id)
            if row is not None and row.session_id == turn.session_id:
                row.deleted = True
        if turn.listing is not None:
            self._enter(turn, turn.listing, first)

    def next_stamp(self, session_id: str) -> datetime:
        """The time of what is written to a session now."""
        stored = self.by_session.get(session_id)
        newest = max(stored[-1].created_at, stored[-1].updated_at) if stored else None
        return rows.first_stamp(clock.now(), newest)

    def insert(self, row: Row) -> None:
        """Adds a row, which comes after all others of its session."""
        self.by_id[row.id] = row
        if not row.key.startswith(CONVERSATION_PREFIX):
            self.by_session[row.session_id].append(row)
            self.by_key[row.session_id, row.key].append(row)

    def clear_others(self, listing: ConversationRow) -> None:
        """Removes what another owner deleted in a session, before the row goes that tells whose it was."""
        own = self.by_id.get(listing.id)
        if own is None or not own.deleted or own.key == listing.key:
            return
        name = listing.session_id
        stored = self.by_session[name]
        kept = self.by_session[name] = [row for row in stored if not row.deleted]
        for key in {row.key for row in stored}:
            self.by_key[name, key] = [row for row in kept if row.key == key]
        for row in stored:
            if row.deleted:
                del self.by_id[row.id]

    def remove_session(self, session_id: str, row_id: str) -> None:
        """Takes all rows of a session out, and its conversation's own."""
        self.by_id.pop(row_id, None)
        for row in self.by_session.pop(session_id, ()):
            del self.by_id[row.id]
            self.by_key.pop((session_id, row.key), None)

    def first_message(self, session_id: str, before: datetime | None = None) -> Row | None:
        """The first row a component stored in a session."""
        for row in self.by_session.get(session_id, ()):
            if not row.deleted and not row.key.startswith(RESERVED_PREFIX):
                return row if before is None or row.created_at < before else None
        return None

    def _enter(self, turn: PreparedTurn, listing: ConversationRow, first: datetime) -> None:
        listed = self.by_id.get(listing.id)
        if listed is not None and not listed.deleted:
            listed.updated_at = turn.last(first)
            return
        began = first
        origin = self.first_message(turn.session_id, first)
        if origin is not None:
            began = origin.created_at
            listing = ConversationRow(turn.session_id, None, title_of_row(origin.text))
        self.clear_others(listing)
        who = (listing.id, turn.session_id, turn.request_id, listing.key)
        self.insert(Row(*who, listing.text, began, turn.last(first)))

