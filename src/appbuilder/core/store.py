"""The session-store protocol: what a turn needs of the place conversations are kept in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

STATE = "state"
COMPLETE = "complete"
INCOMPLETE = "incomplete"
FAILED = "failed"
RESERVED_PREFIX = "_appbuilder."
TURN_KEY = RESERVED_PREFIX + "turn"


@dataclass(frozen=True, slots=True)
class TurnEntry:
    """What is kept of a turn of a conversation that can be opened again, besides what the component appended.

    It becomes one row under :data:`TURN_KEY`, and the conversation is listed for its owner
    (:mod:`appbuilder.core.conversations`).

    :param row_id: the row's id, 36 characters; also the answer's id in what is shown.
    :param owner: whose conversation it is, if it has an owner.
    :param title: the conversation's title; counts only in its first turn.
    :param value: JSON members: ``input`` and ``answer`` (messages), ``state``, and more where there is more;
        empty: no such row is written, and the conversation is only listed, where the turn has other rows.
    """

    row_id: str
    owner: str
    title: str
    value: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """The rows of one turn, written whole or not at all.

    ``rows`` are (message key, message as JSON members) in the order they were appended; keys of at most
    128 characters, each once. Rows of a turn that was cut carry ``{"state": "incomplete"}``. The row of
    ``entry`` follows them.

    :param replaced: ids of rows of the session that are marked deleted in the same transaction, and with them
        what rates them; their times stay.
    """

    session_id: str
    request_id: str
    rows: Sequence[tuple[str, Mapping[str, Any]]]
    entry: TurnEntry | None = None
    replaced: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ReplacedTurns:
    """The newest turns of a session, which the turn that runs replaces when it is stored.

    :param rows: ids of their rows.
    :param first: time and id of the first of them; the history before it stays visible during the run.
    """

    rows: Sequence[str]
    first: tuple[datetime, str]


class SessionStore(Protocol):
    """Conversations by session. Every method may be called from any thread.

    :raises StoreUnavailable: (all methods) the database did not answer in time or refused.
    """

    def history(
        self, session_id: str, key: str, limit: int, before: tuple[datetime, str] | None = None
    ) -> list[dict[str, Any]]:
        """The newest *limit* messages of finished turns under *key*, as JSON members, oldest first.

        Order is the order of commits, whatever the clock did between them.

        :param before: only rows that stand before this time and id.
        """

    def commit(self, turn: TurnRecord) -> None:
        """Writes the turn in one transaction; when it returns, the turn survives a power cut.

        :raises NotFound: its entry's conversation is another owner's: nothing is written.
        """

    def ping(self) -> None:
        """Does nothing but reach the database."""

    def close(self) -> None:
        """Gives the connections back; called once, when no turn runs any more."""
