"""Fault injection for session stores: what a program does when its database does not."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Any

from appbuilder.core.store import SessionStore, TurnRecord
from appbuilder.errors import StoreUnavailable

OPERATIONS = ("history", "commit", "ping")


class Hang:
    """An operation that hangs: ``entered`` is set when one got stuck, ``release()`` lets it go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._released = threading.Event()

    def release(self) -> None:
        """Lets every call that hangs here, and those that come later, go on to the real store."""
        self._released.set()

    def wait(self) -> None:
        """Blocks until released."""
        self.entered.set()
        self._released.wait()


class FlakyStore:
    """A store that works like *store* except where it was told to fail.

    Faults of one operation (``"history"``, ``"commit"``, ``"ping"``) are used up in the order they were
    set, one a call; ``calls`` counts the calls of each.
    """

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._faults: dict[str, deque[Callable[[], None]]] = defaultdict(deque)
        self._after: deque[Exception] = deque()
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()

    def fail(self, operation: str, times: int = 1, error: Exception | None = None) -> None:
        """The next *times* calls of *operation* raise *error* (StoreUnavailable) and do nothing."""
        raised = error or StoreUnavailable("The database is away (injected).")

        def fault() -> None:
            raise raised

        self._add(operation, fault, times)

    def hang(self, operation: str) -> Hang:
        """The next call of *operation* hangs until the returned object is released."""
        hang = Hang()
        self._add(operation, hang.wait, 1)
        return hang

    def fail_after_commit(self, times: int = 1, error: Exception | None = None) -> None:
        """The next *times* commits are written, and raise all the same."""
        raised = error or StoreUnavailable("The connection broke during the commit (injected).")
        with self._lock:
            self._after.extend([raised] * times)

    def history(self, session_id: str, key: str, limit: int) -> list[dict[str, Any]]:
        self._meet("history")
        return self._store.history(session_id, key, limit)

    def commit(self, turn: TurnRecord) -> None:
        self._meet("commit")
        self._store.commit(turn)
        with self._lock:
            error = self._after.popleft() if self._after else None
        if error is not None:
            raise error

    def ping(self) -> None:
        self._meet("ping")
        self._store.ping()

    def close(self) -> None:
        self._store.close()

    def _add(self, operation: str, fault: Callable[[], None], times: int) -> None:
        if operation not in OPERATIONS:
            raise ValueError(f"the operations of a store are {', '.join(OPERATIONS)}")
        with self._lock:
            self._faults[operation].extend([fault] * times)

    def _meet(self, operation: str) -> None:
        with self._lock:
            self.calls[operation] += 1
            fault = self._faults[operation].popleft() if self._faults[operation] else None
        if fault is not None:
            fault()
