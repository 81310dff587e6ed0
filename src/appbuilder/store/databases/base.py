"""What a database has to offer to :class:`appbuilder.store.sessions.session_store.SqlStore`, in one
process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from appbuilder.store.conversations.conversation_row import Execute
from appbuilder.store.conversations.queries import ConversationSql
from appbuilder.store.databases.group_commit import Done
from appbuilder.store.sessions.rows import PreparedTurn
from appbuilder.store.sessions.statements import Statements

_T = TypeVar("_T")

POSTGRES_ENCODINGS = ("UTF8", "SQL_ASCII")
"""Encodings of a PostgreSQL database that hold every text; SQL_ASCII stores the bytes it is given."""


class Backend(Protocol):
    """The connections of one process to one database. Any method may raise what the driver raises."""

    sql: Statements
    conversation_sql: ConversationSql
    catalogue_indexes: Mapping[str, str]
    """By name their columns in SQL."""
    together: int
    """Sessions that are removed in one transaction."""

    def write(self, turn: PreparedTurn) -> None:
        """Inserts the turn's rows in one durable transaction, in commit order."""

    def write_later(self, turn: PreparedTurn, tell: Done) -> None:
        """As :meth:`write`, but returns at once, and *tell* is called when it is done; where it groups."""

    def try_write(self, turn: PreparedTurn, timeout: float) -> None:
        """Does all that :meth:`write` does, and leaves no trace of it.

        :param timeout: seconds it waits for locks.
        """

    def prepare(self) -> None:
        """Makes the table and the indexes where they are missing."""

    def ping(self) -> None:
        """One round trip."""

    def close(self) -> None:
        """Closes every connection."""

    # For the conversation repository

    def encode(self, stamp: datetime) -> Any:
        """What the driver takes for a time."""

    def decode(self, stamp: Any) -> datetime:
        """What the driver gave for one."""

    def read(self, sql: str, parameters: tuple[Any, ...]) -> Sequence[Any]:
        """All rows of a query."""

    def read_within(
        self, sql: str, parameters: tuple[Any, ...], most_bytes: int, column: int
    ) -> tuple[list[Any], bool]:
        """The first rows of a query that fit into *most_bytes*, at least one; and whether there are others.

        :param parameters: the last is how many rows at most.
        :param column: that of the text.
        """

    def change(self, session_id: str, work: Callable[[Execute], _T]) -> _T:
        """Runs *work* in a transaction under the session's lock, the one turns are written under."""

    def change_each(self, works: Sequence[tuple[str, Callable[[Execute], _T]]]) -> list[_T]:
        """As :meth:`change`, for several sessions; in one transaction where it locks all of them anyway."""

    def mark(self) -> Any:
        """Where the table ends now."""

    def changed_since(self, mark: Any) -> Mapping[str, Any] | None:
        """The sessions components wrote to since then, and some from before, with the time of a row there.

        None: there is no telling.
        """

    # For the service

    def alter(self, lacking: Callable[[Connection], bool], work: Callable[[Connection], None]) -> None:
        """Runs *work* in a transaction where *lacking* says so, with one process at a time.

        Not for connections that go on being used: their time-outs are off afterwards.
        """

    def refresh(self, work: Callable[[Connection], _T]) -> _T:
        """Runs *work*, which only reads, on a connection; again where the connection was lost."""

    def transact(self, work: Callable[[Connection], _T]) -> _T:
        """Runs *work* in a transaction that locks no session."""
