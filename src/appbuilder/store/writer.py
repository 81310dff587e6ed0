"""Group commit: whoever comes first leads.

The first to submit becomes the leader, lets the others catch up, takes all that wait, writes them in one
transaction and wakes them. Who came meanwhile elects a next leader from their own number, so that nobody
works for others longer than one group. Where nobody waits, but is to be called when his item is written, a
thread of the writer's own leads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from appbuilder.blocking import about_to_block, put_off
from appbuilder.errors import StoreUnavailable
from appbuilder.logs import logger

_T = TypeVar("_T")

MOST_YIELDS = 4
"""While others keep joining. With 32 greenlets a second yield made 30 to 50 % more turns a second."""

Write = Callable[[Callable[[], "list[_T]"], float], "Sequence[Exception | None]"]
"""(take, deadline) -> an error or None for each item.

Gets ready (waits for locks, at most until *deadline* on the monotonic clock), then calls *take* once for
the items of the group, in the order they came, and writes them. Raising before *take* fails the leader
alone.
"""


Done = Callable[["BaseException | None"], None]
"""Told that an item is written, or the error it failed with; raises nothing."""


class _Ticket(Generic[_T]):
    """One item in the queue, and who waits for it, or is told."""

    __slots__ = ("_gate", "deadline", "done", "error", "item", "leads", "tell")

    def __init__(self, item: _T, deadline: float, tell: Done | None = None) -> None:
        self.tell = tell
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
        if self.tell is None:
            self._gate.release()
            return
        try:
            self.tell(self.error)
        except BaseException:  # noqa: BLE001 - the others are still to be told, and the next groups to be written
            logger.exception("a turn was written, and what follows from that failed")


class GroupWriter(Generic[_T]):
    """Puts what several threads or greenlets write at the same time into one call of *write*."""

    def __init__(self, write: Write[_T]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._queue: list[_Ticket[_T]] = []
        self._led = False
        self._own_thread = _Leader[_T](self._lead)

    def submit(self, item: _T, deadline: float) -> None:
        """Returns when *item* is written; raises the error it failed with."""
        about_to_block()
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

    def submit_later(self, item: _T, deadline: float, tell: Done) -> None:
        """Returns at once; *tell* is called in a thread of the writer's when *item* is written or failed."""
        ticket = _Ticket(item, deadline, tell)
        with self._lock:
            self._queue.append(ticket)
            ticket.leads, self._led = not self._led, True
        if ticket.leads and not put_off(lambda: self._lead(ticket)):
            self._own_thread.lead(ticket)

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
        # Before the others are woken: the next group is written while they go on.
        self._pass_on(heir)
        for ticket in group:
            if ticket is not own or ticket.tell is not None:
                ticket.wake()

    def _pass_on(self, heir: _Ticket[_T] | None) -> None:
        if heir is None:
            return
        if heir.tell is None:
            heir.wake()
        else:
            self._own_thread.lead(heir)

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
        self._pass_on(heir)


class _Leader(Generic[_T]):
    """A thread that leads for items nobody waits for; made when there is the first."""

    def __init__(self, lead: Callable[[_Ticket[_T]], None]) -> None:
        self._lead = lead
        self._next: _Ticket[_T] | None = None
        self._gate = threading.Lock()
        self._gate.acquire()
        self._begun = False

    def lead(self, ticket: _Ticket[_T]) -> None:
        """Leads for *ticket*. There is one leader at a time, so the one before has nothing left to write."""
        self._next = ticket
        if not self._begun:
            self._begun = True
            threading.Thread(target=self._run, name="appbuilder-writer", daemon=True).start()
        self._gate.release()

    def _run(self) -> None:
        while True:
            self._gate.acquire()
            ticket, self._next = self._next, None
            assert ticket is not None
            self._lead(ticket)
