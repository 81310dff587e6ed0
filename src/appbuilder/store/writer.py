"""Group commit without a thread of its own: whoever comes first leads.

The first to submit becomes the leader, lets the others catch up, takes all that wait, writes them in one
transaction and wakes them. Who came meanwhile elects a next leader from their own number, so that nobody
works for others longer than one group.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from appbuilder.errors import StoreUnavailable

_T = TypeVar("_T")

MOST_YIELDS = 4
"""While others keep joining. With 32 greenlets a second yield made 30 to 50 % more turns a second."""

Write = Callable[[Callable[[], "list[_T]"], float], "Sequence[Exception | None]"]
"""(take, deadline) -> an error or None for each item.

Gets ready (waits for locks, at most until *deadline* on the monotonic clock), then calls *take* once for
the items of the group, in the order they came, and writes them. Raising before *take* fails the leader
alone.
"""


class _Ticket(Generic[_T]):
    """One item in the queue, and who waits for it."""

    __slots__ = ("_gate", "deadline", "done", "error", "item", "leads")

    def __init__(self, item: _T, deadline: float) -> None:
        self.item = item
        self.deadline = deadline
        self.error: BaseException | None = None
        self.done = False
        self.leads = False
        # A bare lock is the cheapest gate there is, and gevent patches it as well.
        self._gate = threading.Lock()
        self._gate.acquire()

    def wait(self) -> None:
        """Until the item is written, or its owner has to lead."""
        self._gate.acquire()

    def wake(self) -> None:
        self._gate.release()


class GroupWriter(Generic[_T]):
    """Puts what several threads or greenlets write at the same time into one call of *write*."""

    def __init__(self, write: Write[_T]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._queue: list[_Ticket[_T]] = []
        self._led = False

    def submit(self, item: _T, deadline: float) -> None:
        """Returns when *item* is written; raises the error it failed with."""
        ticket = _Ticket(item, deadline)
        with self._lock:
            self._queue.append(ticket)
            ticket.leads, self._led = not self._led, True
        if not ticket.leads:
            try:
                ticket.wait()
            except BaseException:  # a kill of this greenlet, or Ctrl-C: the others must not wait for it
                self._leave(ticket)
                raise
        if not ticket.done:
            self._lead(ticket)
        if ticket.error is not None:
            raise ticket.error

    def _lead(self, own: _Ticket[_T]) -> None:
        group: list[_Ticket[_T]] = []

        def take() -> list[_T]:
            with self._lock:
                group.extend(self._queue)
                self._queue.clear()
            return [ticket.item for ticket in group]

        errors: Sequence[BaseException | None]
        try:
            self._let_others_join()
            errors = self._write(take, own.deadline)
        except BaseException as error:  # noqa: BLE001 - Ctrl-C and a kill, too: leadership must pass on
            if not group:
                group.append(own)
            broken = error if isinstance(error, Exception) else StoreUnavailable("The write was broken off.")
            errors = [error if ticket is own else broken for ticket in group]
        self._settle(group, errors, own)

    def _let_others_join(self) -> None:
        """Under gevent the greenlets that are ready to write enqueue now; threads get the GIL."""
        for _ in range(MOST_YIELDS):
            before = len(self._queue)
            time.sleep(0)
            if len(self._queue) == before:
                return

    def _settle(
        self, group: list[_Ticket[_T]], errors: Sequence[BaseException | None], own: _Ticket[_T]
    ) -> None:
        for ticket, error in zip(group, errors, strict=True):
            ticket.error = error
            ticket.done = True
        with self._lock:
            if own in self._queue:
                self._queue.remove(own)
            heir = self._heir()
        for ticket in group:
            if ticket is not own:
                ticket.wake()
        if heir is not None:
            heir.wake()

    def _heir(self) -> _Ticket[_T] | None:
        if not self._queue:
            self._led = False
            return None
        heir = self._queue[0]
        heir.leads = True
        return heir

    def _leave(self, ticket: _Ticket[_T]) -> None:
        with self._lock:
            if ticket in self._queue:
                self._queue.remove(ticket)
            heir = self._heir() if ticket.leads and not ticket.done else None
        if heir is not None:
            heir.wake()
