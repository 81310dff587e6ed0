"""The protocol of transcripts: which session a conversation is that a client sends whole each time."""

from __future__ import annotations

from typing import Protocol


class HistoryIndex(Protocol):
    """Sessions by a digest of what was said in them. Every method may be called from any thread.

    Two conversations may have gone the same way so far ("hi", "Hello!"), and their clients cannot be
    distinguished
    apart. So a session has one digest, that of all that was said in it, and each is given out once: the next
    request with the same history gets the other session, and neither conversation sees the other's.

    :raises StoreUnavailable: (all methods) the database did not answer in time or refused.
    """

    def remember(self, owner: str, digest: str, session_id: str) -> None:
        """From now on *digest* (at most 64 characters), and no other, stands for this session of *owner*."""

    def take(self, owner: str, digest: str) -> str | None:
        """One session of *owner* that *digest* stands for, which it then does no more; None: there is no
        such session.

        Of several, in whatever processes, each is given to one caller only.
        """

    def forget(self, owner: str) -> None:
        """No session of *owner* is recognized any more."""
