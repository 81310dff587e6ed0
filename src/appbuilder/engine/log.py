"""The log of a run: its pieces and how it ended, between the run that writes and the readers.

A reader holds a cursor: the number of pieces it has. Any number of readers may read, each at its own
pace, and one that comes later starts where it likes. Readers that wait register a *waker*, called at
most once, so a writer that is faster than its readers wakes them once per batch, not per piece.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from appbuilder.core.steps import Step
from appbuilder.errors import AppBuilderError

Waker = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: the answer's JSON members (durable by now), or the error."""

    answer: Mapping[str, Any] | None = None
    error: AppBuilderError | None = None


class RunLog:
    """Pieces in order, then one outcome. One writer; readers in any thread.

    No lock is held on the way of a piece: appending to a list is atomic, and a reader that registers its
    waker looks once more before it waits, so that no piece slips between.
    """

    def __init__(self) -> None:
        self.head: Mapping[str, Any] | None = None
        """The answer's JSON members without its content; there before the first piece."""
        self.outcome: Outcome | None = None
        self.call: Callable[[Waker], object] = _here
        """Calls a waker; to be set where the writer's thread may not touch what readers wait with."""
        self.steps: list[Step] = []
        """What the run did so far; a step stands here when it begins and again when it ended."""
        self.pieces: list[Any] = []
        self.wakers: list[Waker] = []
        """Who waits for the next piece, step or outcome."""
        self._enders: list[Waker] = []

    # The writer's side

    def append(self, piece: Any) -> None:
        """Adds a piece and wakes who waits for it."""
        self.pieces.append(piece)
        if self.wakers:
            self.wake()

    def tell(self, step: Step) -> None:
        """Adds a step and wakes who waits."""
        self.steps.append(step)
        if self.wakers:
            self.wake()

    def finish(self, outcome: Outcome) -> None:
        """Adds the outcome; nothing follows it."""
        self.outcome = outcome
        self.wake()
        enders, self._enders = self._enders, []
        for ender in enders:
            self.call(ender)

    # A reader's side

    @property
    def count(self) -> int:
        """How many pieces there are."""
        return len(self.pieces)

    def read(self, cursor: int) -> tuple[list[Any], Outcome | None]:
        """The pieces from *cursor* on, and the outcome if the run has ended and these are all."""
        outcome = self.outcome  # first, so that an outcome is never seen without the pieces before it
        return self.pieces[cursor:], outcome

    def wait(self, cursor: int, timeout: float) -> bool:
        """Waits until there is more than *cursor* pieces, or the outcome; False after *timeout* seconds, or
        when a step was told."""
        if self._has_more(cursor):
            return True
        # A lock that the waker opens: a third of what a threading.Event costs, once for every paced piece.
        gate = threading.Lock()
        gate.acquire()
        self.subscribe(gate.release)
        if not self._has_more(cursor):
            gate.acquire(timeout=timeout)
        self.unsubscribe(gate.release)
        return self._has_more(cursor)

    def wait_outcome(self) -> Outcome:
        """Waits until the run has ended."""
        while self.outcome is None:
            self.wait(len(self.pieces), timeout=60)
        return self.outcome

    def subscribe(self, waker: Waker) -> None:
        """Calls *waker* once, at the next piece, step or outcome. Look at the log again after this."""
        self.wakers.append(waker)

    def subscribe_end(self, waker: Waker) -> None:
        """Calls *waker* at the outcome, perhaps twice; at once where it is there already."""
        self._enders.append(waker)
        if self.outcome is not None:
            waker()

    def unsubscribe(self, waker: Waker) -> None:
        """Takes *waker* back; does nothing where it was called already."""
        if waker in self.wakers:
            try:
                self.wakers.remove(waker)
            except ValueError:  # it was called between the look and the removal
                return

    def _has_more(self, cursor: int) -> bool:
        return len(self.pieces) > cursor or self.outcome is not None

    def wake(self) -> None:
        """Wakes who waits."""
        wakers, self.wakers = self.wakers, []
        for waker in wakers:
            self.call(waker)


def _here(waker: Waker) -> None:
    waker()
