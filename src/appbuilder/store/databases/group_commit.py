"""Group commit: whoever comes first leads.

The first to submit becomes the leader, lets the others catch up, takes all that wait, writes them in one
transaction and wakes them. Who came meanwhile elects a next leader from their own number, so that no one
works for others longer than one group. Where no one waits, but is to be called when his item is written, a
thread of the writer's own leads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from appbuilder.cooperation import before_blocking, defer
from appbuilder.errors import StoreUnavailable
from appbuilder.logs import logger

_T = TypeVar("_T")

MAX_YIELDS = 4
"""While others keep joining. With 32 greenlets a second yield made 30 to 50 % more turns a second."""

Write = Callable[[Callable[[], "list[_T]"], float], "Sequence[Exception | None]"]
"""(take, deadline) -> an error or None for each item.

Gets ready (waits for locks, at most until *deadline* on the monotonic clock), then calls *take* once for
the items of the group, in the order they came, and writes them. Raising before *take* fails the leader
alone.
"""


Done = Callable[["BaseException | None"], None]
"""Called when an item is written, or the error it failed with; raises nothing."""


class _PendingWrite(Generic[_T]):
    """One item in the queue, and what waits for it, or is called."""

    __slots__ = ("_wakeup", "deadline", "done", "error", "is_leader", "item", "tell")

    def __init__(self, item: _T, deadline: float, tell: Done | None = None) -> None:
        self.tell = tell
        self.item = item
        self.deadline = deadline
        self.error: BaseException | None = None
        self.done = False
        self.is_leader = False
        # A bare lock is the cheapest gate there is, and gevent patches it as well.
        self._wakeup = threading.Lock()
        self._wakeup.acquire()

    def wait(self) -> None:
        """Until the item is written, or its owner has to lead."""
        self._wakeup.acquire()

    def wake(self) -> None:
        if self.tell is None:
            self._wakeup.release()
            return
        try:
            self.tell(self.error)
        except BaseException:  # noqa: BLE001 - the others are still to be called, and the next groups to be written
            logger.exception("a turn was written, and what follows from that failed")


class GroupCommitter(Generic[_T]):
    """Puts what several threads or greenlets write at the same time into one call of *write*."""

    def __init__(self, write: Write[_T]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._queue: list[_PendingWrite[_T]] = []
        self._has_leader = False
        self._leader_thread = _LeaderThread[_T](self._lead)

    def submit(self, item: _T, deadline: float) -> None:
        """Returns when *item* is written; raises the error it failed with."""
        before_blocking()
        pending = _PendingWrite(item, deadline)
        with self._lock:
            self._queue.append(pending)
            pending.is_leader, self._has_leader = not self._has_leader, True
        if not pending.is_leader:
            try:
                pending.wait()
            except BaseException:  # a kill of this greenlet, or Ctrl-C: the others must not wait for it
                self._leave(pending)
                raise
        if not pending.done:
            self._lead(pending)
        if pending.error is not None:
            raise pending.error

    def submit_later(self, item: _T, deadline: float, tell: Done) -> None:
        """Returns at once; *tell* is called in a thread of the writer's when *item* is written or failed."""
        pending = _PendingWrite(item, deadline, tell)
        with self._lock:
            self._queue.append(pending)
            pending.is_leader, self._has_leader = not self._has_leader, True
        if pending.is_leader and not defer(lambda: self._lead(pending)):
            self._leader_thread.lead(pending)

    def _lead(self, own: _PendingWrite[_T]) -> None:
        group: list[_PendingWrite[_T]] = []

        def take() -> list[_T]:
            with self._lock:
                group.extend(self._queue)
                self._queue.clear()
            return [pending.item for pending in group]

        errors: Sequence[BaseException | None]
        try:
            self._wait_for_others()
            errors = self._write(take, own.deadline)
        except BaseException as error:  # noqa: BLE001 - Ctrl-C and a kill, too: leadership must pass on
            if not group:
                group.append(own)
            broken = error if isinstance(error, Exception) else StoreUnavailable("The write was broken off.")
            errors = [error if pending is own else broken for pending in group]
        self._finish(group, errors, own)

    def _wait_for_others(self) -> None:
        """Under gevent the greenlets that are ready to write enqueue now; threads get the GIL."""
        for _ in range(MAX_YIELDS):
            before = len(self._queue)
            time.sleep(0)
            if len(self._queue) == before:
                return

    def _finish(
        self, group: list[_PendingWrite[_T]], errors: Sequence[BaseException | None], own: _PendingWrite[_T]
    ) -> None:
        for pending, error in zip(group, errors, strict=True):
            pending.error = error
            pending.done = True
        with self._lock:
            if own in self._queue:
                self._queue.remove(own)
            next_leader = self._next_leader()
        # Before the others are woken: the next group is written while they go on.
        self._pass_on(next_leader)
        for pending in group:
            if pending is not own or pending.tell is not None:
                pending.wake()

    def _pass_on(self, next_leader: _PendingWrite[_T] | None) -> None:
        if next_leader is None:
            return
        if next_leader.tell is None:
            next_leader.wake()
        else:
            self._leader_thread.lead(next_leader)

    def _next_leader(self) -> _PendingWrite[_T] | None:
        if not self._queue:
            self._has_leader = False
            return None
        next_leader = self._queue[0]
        next_leader.is_leader = True
        return next_leader

    def _leave(self, pending: _PendingWrite[_T]) -> None:
        with self._lock:
            if pending in self._queue:
                self._queue.remove(pending)
            next_leader = self._next_leader() if pending.is_leader and not pending.done else None
        self._pass_on(next_leader)


class _LeaderThread(Generic[_T]):
    """A thread that leads for items no one waits for; made when there is the first."""

    def __init__(self, lead: Callable[[_PendingWrite[_T]], None]) -> None:
        self._lead = lead
        self._next: _PendingWrite[_T] | None = None
        self._wakeup = threading.Lock()
        self._wakeup.acquire()
        self._begun = False

    def lead(self, pending: _PendingWrite[_T]) -> None:
        """Leads for *pending*. There is one leader at a time, so the one before has nothing left to write."""
        self._next = pending
        if not self._begun:
            self._begun = True
            threading.Thread(target=self._run, name="appbuilder-writer", daemon=True).start()
        self._wakeup.release()

    def _run(self) -> None:
        while True:
            self._wakeup.acquire()
            pending, self._next = self._next, None
            assert pending is not None
            self._lead(pending)
