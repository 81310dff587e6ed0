"""Sessions this process knows the local user to be let into: his turns there need not ask whose they are."""

from __future__ import annotations

import threading
from collections import OrderedDict

from appbuilder import clock

HOLDS = 60.0
"""Seconds for which it is known: another process may delete a session, and somebody else take its id."""
MOST = 10_000


class KnownSessions:
    """The sessions. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, session_id: str) -> bool:
        return self._until.get(session_id, 0.0) > clock.monotonic()

    def add(self, session_id: str) -> None:
        """The local user may go on in the session."""
        until = clock.monotonic() + HOLDS
        with self._lock:
            self._until[session_id] = until
            self._until.move_to_end(session_id)
            if len(self._until) > MOST:
                self._until.popitem(last=False)

    def forget(self, session_id: str) -> None:
        """The session is deleted."""
        with self._lock:
            self._until.pop(session_id, None)

    def forget_all(self) -> None:
        """Sessions are deleted, whichever."""
        with self._lock:
            self._until.clear()
