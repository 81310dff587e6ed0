"""The protocol of transcripts: which session a conversation belongs to that a client sends whole each time."""

from __future__ import annotations

from typing import Protocol


class Transcripts(Protocol):
    """Sessions by a digest of what was said in them. Every method may be called from any thread.

    :raises StoreUnavailable: (all methods) the database did not answer in time or refused.
    """

    def remember(self, owner: str, digest: str, session_id: str) -> None:
        """From now on *digest* (at most 64 characters) stands for this session of *owner*."""

    def find(self, owner: str, digest: str) -> str | None:
        """The session that *digest* stands for; None: none is known (any more)."""
