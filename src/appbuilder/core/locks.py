"""The session-lock protocol: one turn of a session at a time, whichever process it runs in."""

from __future__ import annotations

from typing import Protocol

from appbuilder.core.cancel import CancelToken


class SessionLock(Protocol):
    """A session that is ours, until it is released or the database is lost."""

    waited: bool
    """Whether another process had it when it was asked for."""

    def check(self) -> None:
        """To be called before what the turn did is written.

        :raises StoreUnavailable: the lock was lost meanwhile; another process may have the session.
        """

    def release(self) -> None:
        """Gives the session up; never raises, never waits for long."""


class SessionLocks(Protocol):
    """Locks of sessions across processes. A process asks for a session once at a time.

    A process that dies, however it dies, holds none afterwards.
    """

    def try_acquire(self, session_id: str) -> SessionLock | None:
        """The session's lock where that can be said without waiting; else None, and nothing is held."""

    def acquire(self, session_id: str, timeout: float, token: CancelToken) -> SessionLock:
        """Waits for the session.

        :raises SessionBusy: *timeout* seconds have passed.
        :raises TurnCancelled: *token* was set meanwhile.
        :raises StoreUnavailable: the database does not answer.
        """

    def close(self) -> None:
        """Gives everything up."""
