"""The conversation repository protocol: conversations as a side bar lists them, and what it may do with one.

Everything is kept in the session table itself, in rows under reserved keys: one row per conversation (owner,
title, times), one per turn, one per rating; a deleted conversation is rows with the ``deleted`` flag.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from appbuilder.core.store import RESERVED_PREFIX, SessionStore

CONVERSATION_PREFIX = RESERVED_PREFIX + "session."
"""Of the keys of conversations' own rows; what follows stands for the owner."""
FEEDBACK_KEY = RESERVED_PREFIX + "feedback"
LOGOUT_KEY = RESERVED_PREFIX + "logout"

Owner = str | None
"""Who began a conversation; None: unknown, it was started over ``POST /chat`` or by the SDK."""
LOCAL_USER = "local"
"""Name and owner of the user of this machine, where no authentication is set up."""

Place = tuple[datetime, str]
"""Where a row stands in its conversation: its time and its id."""

LONGEST_TITLE = 80
OUTLINED = 64 * 1024
"""Characters of the longest row whose value is read where the values of others are left out."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation. ``updated_at`` is the time of its newest turn; both times are UTC without a zone."""

    session_id: str
    owner: Owner
    title: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """Some conversations, newest first; ``next`` is the cursor of the page after, None at the end."""

    conversations: Sequence[Conversation]
    next: str | None


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One row of a conversation, whatever wrote it; ``value`` is the stored JSON value.

    ``size`` is the memory its text took, in bytes, where it was read by size.
    """

    id: str
    request_id: str
    key: str
    value: Any
    created_at: datetime
    size: int = field(default=0, compare=False)

    @property
    def place(self) -> Place:
        return self.created_at, self.id


@dataclass(frozen=True, slots=True)
class SomeRows:
    """Some rows of a conversation, oldest first; ``next`` is where to go on, None where there are no more."""

    rows: list[StoredRow]
    next: Place | None

    def reversed(self) -> SomeRows:
        """The same rows in the other order."""
        return SomeRows(self.rows[::-1], self.next)


@dataclass(frozen=True, slots=True)
class NewSession:
    """A whole conversation that is to be written into a session that does not exist yet.

    Keys, values, request ids and the order of *rows* stay, and their times where they grow with it and are
    not in the future. Rows get ids of their own; ratings stay with their turns.
    """

    session_id: str
    owner: Owner
    title: str
    rows: Sequence[StoredRow]


@dataclass(frozen=True, slots=True)
class Rating:
    """What a reader thinks of an answer; ``good`` False is a thumb down."""

    good: bool
    comment: str = ""


class ConversationRepository(Protocol):
    """Conversations by owner. Every method may be called from any thread.

    :raises StoreUnavailable: (all methods) the database did not answer in time or refused.
    """

    def page(
        self, owners: Sequence[Owner] | None, *, search: str = "", limit: int = 20, cursor: str | None = None
    ) -> ConversationPage:
        """Conversations of any of *owners* (None: everybody's), the one with the newest turn first.

        :param search: text that must be part of the title, in upper or lower case, full or half width;
            empty: all.
        :param cursor: ``next`` of the page before.
        :raises InvalidRequest: *cursor* was not made by this repository.
        """

    def owner_of(self, session_id: str) -> tuple[bool, Owner]:
        """Whether there is such a session, and who began it; what a turn asks before it begins.

        A deleted one does not count. A session started over ``POST /chat`` has no owner, listed or not.
        """

    def find(self, session_id: str) -> Conversation | None:
        """The conversation, also one that is not listed yet; None: it does not exist, or was deleted."""

    def rows(self, session_id: str, limit: int, *, before: Place | None = None) -> list[StoredRow]:
        """The conversation's newest *limit* rows that are not deleted, oldest first; ratings among them.

        :param before: only rows that stand before this place.
        """

    def read_back(self, session_id: str, before: Place | None, limit: int, most_bytes: int) -> SomeRows:
        """As :meth:`rows`, in bounded memory: at most *limit* rows, and no more than *most_bytes* of text.

        A row that is larger is given alone.
        """

    def read_on(self, session_id: str, after: Place | None, limit: int, most_bytes: int) -> SomeRows:
        """Likewise the rows that follow a place (None: from the beginning)."""

    def outline(
        self, session_id: str, before: Place | None, limit: int, *, longest: int = OUTLINED
    ) -> SomeRows:
        """As :meth:`rows`; the values of rows of more than *longest* characters are None, and not read."""

    def rename(self, session_id: str, title: str) -> bool:
        """Gives it another title, one line of at most 80 characters; False: there is no such conversation."""

    def delete(self, session_id: str) -> bool:
        """Deletes it, and with it what the component remembers of it; False: it does not exist.

        The rows stay in the table with their ``deleted`` flag set, until the session is another owner's. One
        transaction; of a large session several, the oldest rows first, and it stays its owner's to the last.
        """

    def erase(self, owner: Owner) -> int:
        """Removes all rows of all sessions of *owner*, also of those that were deleted; returns how many.

        One transaction a session, more for a long one. What is begun meanwhile may stay: ask again.
        """

    def erasing(self, owner: Owner) -> Iterator[int]:
        """As :meth:`erase`, in steps: each is a transaction, and gives how many sessions it has finished."""

    def prune(self, before: datetime) -> int:
        """Removes all rows of the sessions whose newest turn is older, deleted or not; returns how many.

        :param before: UTC without a zone.
        """

    def import_rows(self, session_id: str, owner: Owner, title: str, rows: Sequence[StoredRow]) -> None:
        """Writes one conversation, see :class:`NewSession`, in one transaction.

        :raises InvalidRequest: the session exists; a name is too long; no row is a turn or part of one.
        """

    def import_sessions(self, sessions: Sequence[NewSession]) -> Sequence[bool]:
        """Writes conversations, each whole: on SQLite in one transaction, elsewhere each in its own.

        Returns which were written; the others exist already.

        :raises InvalidRequest: a name is too long; no row of one is a turn or part of one.
        """

    def tokens_since(self, session_id: str, since: datetime) -> int:
        """What its kept turns since then (UTC without a zone) have used: the sum of ``total_tokens``."""

    def conversation_of(self, turn_id: str) -> str | None:
        """The session id of the turn with this id; None: there is no such turn, or it was deleted.

        A turn of a conversation begun over ``POST /chat`` has the id of any row the component stored in it.
        """

    def own_turns(self, turn_ids: Sequence[str]) -> Mapping[str, tuple[str, StoredRow]]:
        """Session id and row of those of these turns that have a row of the service's own, by the turns' ids.

        Those that are not there, or were deleted, are left out.
        """

    def rate(self, turn_id: str, rating: Rating) -> bool:
        """Keeps a rating of a turn's answer, in place of one before; False: there is no such turn."""

    def ratings(self, turn_ids: Sequence[str]) -> Mapping[str, Rating]:
        """The ratings of these turns, where there are any, by the turns' ids."""

    def unrate(self, turn_id: str) -> bool:
        """Takes a rating back; False: there was no rating."""

    def end_login(self, login: str, until: datetime) -> None:
        """Notes that a login of the chat page has ended.

        :param login: its id.
        :param until: UTC without a zone: the note is kept until then.
        """

    def is_ended(self, login: str) -> bool:
        """Whether this login was noted as ended."""


class ConversationStore(SessionStore, Protocol):
    """A store whose conversations can be listed."""

    def repository(self) -> ConversationRepository:
        """Its catalogue, on the same connections."""

    @property
    def failures(self) -> int:
        """How often something failed for the database's sake, so far."""

    def check_writable(self, timeout: float) -> None:
        """Proves that a turn could be stored now, and leaves no trace of that.

        :param timeout: seconds it may wait for locks of others.
        :raises StoreUnavailable: it could not; its ``reason`` may be shown to any caller.
        """

    def prepare_conversations(self) -> None:
        """Makes what lists need to be fast; called once, when the page starts.

        :raises ConfigurationError: the database cannot be reached or written.
        """


_AT_ONCE = 200
"""Rows, or conversations, that are read at once where all are wanted."""
_BYTES_AT_ONCE = 1024 * 1024
"""Text of rows that is read at once there."""


def all_conversations(
    repository: ConversationRepository, owners: Sequence[Owner] | None, search: str = ""
) -> Iterator[Conversation]:
    """Every conversation :meth:`ConversationRepository.page` would give, read as they are taken."""
    cursor = None
    while True:
        page = repository.page(owners, search=search, limit=_AT_ONCE, cursor=cursor)
        yield from page.conversations
        cursor = page.next
        if cursor is None:
            return


def all_rows(repository: ConversationRepository, session_id: str) -> Iterator[StoredRow]:
    """Every row of a conversation, the oldest first, read as they are taken."""
    read = repository.read_on(session_id, None, _AT_ONCE, _BYTES_AT_ONCE)
    yield from read.rows
    while read.next is not None:
        read = repository.read_on(session_id, read.next, _AT_ONCE, _BYTES_AT_ONCE)
        yield from read.rows


def title_of(text: str) -> str:
    """A title made of what a conversation began with: one line of at most 80 characters."""
    # A message may be long, and its beginning is enough.
    line = shown(" ".join(text.lstrip()[: 8 * LONGEST_TITLE].split()))
    line = " ".join(line.split())  # what was no character may have stood at an end, or between two spaces
    return line if len(line) <= LONGEST_TITLE else line[: LONGEST_TITLE - 1] + "…"


def shown(text: str) -> str:
    """*text* without what is no character: NUL and other controls, lone surrogates."""
    if text.isprintable():  # almost every text, and none of those
        return text
    return "".join(each for each in text if unicodedata.category(each) not in ("Cc", "Cs"))
