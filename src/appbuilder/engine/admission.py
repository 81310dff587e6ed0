"""How much runs at the same time: turns per process, and one turn per session."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from weakref import WeakKeyDictionary

from appbuilder import clock, telemetry
from appbuilder.cooperation import before_blocking
from appbuilder.core.cancel import CancelToken
from appbuilder.errors import Draining, Overloaded, SessionBusy
from appbuilder.fork_safe import ForkSafe


class Admission:
    """Counts the turns in flight; refuses more than the limit, and all once it is closed."""

    def __init__(self, max_turns: int) -> None:
        self._max_turns = max_turns
        self._in_flight = 0
        self._closed = False
        # The lock by itself: a condition's own way in is a call more, at each turn.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    def enter(self) -> None:
        """Admits one turn.

        :raises Overloaded: the limit is reached.
        :raises Draining: the gate is closed.
        """
        with self._lock:
            if self._closed:
                raise Draining("The service is shutting down; try again in a moment.", retry_after=2)
            if self._in_flight >= self._max_turns:
                raise Overloaded("The service is busy; try again in a moment.", retry_after=1)
            self._in_flight += 1

    def leave(self) -> None:
        """Takes back one :meth:`enter`."""
        with self._lock:
            self._in_flight -= 1
            if self._closed:
                self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """True while the process shuts down."""
        return self._closed

    def close(self) -> None:
        """Refuses further turns."""
        with self._changed:
            self._closed = True

    def wait_idle(self, timeout: float) -> bool:
        """Waits until no turn is in flight; False after *timeout* seconds."""
        deadline = clock.monotonic() + timeout
        with self._changed:
            while self._in_flight and (left := deadline - clock.monotonic()) > 0:
                self._changed.wait(left)
            return self._in_flight == 0


class SessionQueue:
    """Lets the turns of one session run one after the other, in the order they came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, deque[QueueEntry]] = {}

    def enter(self, session_id: str, max_waiting: int) -> QueueEntry:
        """Takes a place in the session's queue.

        :raises SessionBusy: *max_waiting* turns wait already (0: another turn runs).
        """
        entry = QueueEntry(self, session_id)
        with self._lock:
            queue = self._queues.get(session_id)
            if queue is None:
                self._queues[session_id] = deque((entry,))
            else:
                if len(queue) > max_waiting:
                    raise SessionBusy("This session is answering another message; wait for its answer.")
                entry.ready = threading.Event()
                queue.append(entry)
        return entry

    def leave(self, entry: QueueEntry) -> None:
        """Gives the place up and lets the next turn begin."""
        with self._lock:
            queue = self._queues[entry.session_id]
            was_first = queue[0] is entry
            queue.remove(entry)
            if not queue:
                del self._queues[entry.session_id]
            elif was_first and queue[0].ready is not None:
                queue[0].ready.set()


class QueueEntry:
    """A place in a session's queue. ``ready`` is None for one that found the session free."""

    __slots__ = ("_turns", "ready", "session_id")

    def __init__(self, turns: SessionQueue, session_id: str) -> None:
        self._turns = turns
        self.session_id = session_id
        self.ready: threading.Event | None = None

    def wait(self, timeout: float, token: CancelToken) -> None:
        """Waits for the turn.

        :raises SessionBusy: *timeout* seconds have passed.
        :raises TurnCancelled: *token* was set meanwhile.
        """
        if self.ready is None:
            return
        before_blocking()
        forget = token.on_cancel(self.ready.set)
        with waiting():
            in_time = self.ready.wait(timeout)
        forget()
        token.raise_if_cancelled()
        if not in_time:
            raise SessionBusy(f"This session was still busy after {timeout:g} seconds; try again.")

    def leave(self) -> None:
        """Gives the place up, whether or not its turn had come."""
        self._turns.leave(self)


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Counts the turn as one that waits for its session."""
    sink = telemetry.current
    sink.turn_waits(1)
    try:
        yield
    finally:
        sink.turn_waits(-1)


def session_queue(store: object) -> SessionQueue:
    """Who owns which session of *store*: one for all engines on one store in this process."""
    return _by_store.get().setdefault(store, SessionQueue())


# Not a parent's: its turns never leave their queues here.
_by_store: ForkSafe[WeakKeyDictionary[object, SessionQueue]] = ForkSafe(WeakKeyDictionary)
