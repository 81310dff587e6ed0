"""The log of a run: what it says, in order, and how it ended; between the run that writes and the readers.

Any number of readers may read, each at its own pace (:mod:`appbuilder.engine.reader`), and one that comes
later begins at the beginning. Readers that wait register a *waker*, called at most once, so a writer that is
faster than its readers wakes them once per batch, not per chunk.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from appbuilder import clock
from appbuilder.core.events import QUIET, Entry, RunEvent, is_piece
from appbuilder.errors import AppBuilderError

Waker = Callable[[], None]
_RESOLUTION = 0.01
"""Seconds within which chunks of text have the same time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: the answer's JSON members (durable by now), or the error."""

    answer: Mapping[str, Any] | None = None
    error: AppBuilderError | None = None


class Position:
    """How far a reader has come.

    ``taken`` is the size of what it has taken, see :func:`size_of`; ``is_cut``: it was too far behind, and
    gets nothing more.
    """

    __slots__ = ("is_cut", "taken")

    def __init__(self) -> None:
        self.taken = 0
        self.is_cut = False


ENTRY = 64
"""Bytes an entry takes besides its text."""


def size_of(entry: Entry) -> int:
    """What an entry counts for: characters, or bytes of JSON, and :data:`ENTRY`."""
    return ENTRY + (len(entry) if type(entry) is str else entry.size)  # type: ignore[union-attr]


class RunLog:
    """The events of a run in one list, then one outcome. One writer; readers in any thread.

    No lock is held on the way of a chunk: appending to a list is atomic, and a reader that registers its
    waker looks once more before it waits, so that no chunk slips between.
    """

    __slots__ = (
        "_enders", "_marks", "call", "entries", "has_spoken", "head", "others", "outcome", "readers",
        "takers", "wakers",
    )

    head: Mapping[str, Any] | None
    """The answer's JSON members without its content; there before the first piece of the answer."""
    outcome: Outcome | None
    call: Callable[[Waker], object]
    """Calls a waker; to be set where the writer's thread may not touch what readers wait with."""
    has_spoken: bool
    """Whether there is an event after which no further attempt may be made."""
    entries: list[Entry]
    others: int
    """How many entries are not pieces of the answer."""
    wakers: list[Waker]
    """Who waits for the next entry or the outcome."""
    readers: list[Position]
    """Who reads the log now; each holds back a writer that is far ahead of all."""
    takers: list[Waker]
    """Who waits for a reader to take something, or to leave."""

    def __init__(self) -> None:
        self.head = self.outcome = None
        self.call = _here
        self.has_spoken = False
        self.others = 0
        self.entries, self.wakers, self.readers, self.takers = [], [], [], []
        self._enders: list[Waker] = []
        self._marks: list[tuple[int, float]] = []
        """From which entry on which (monotonic) time holds."""

    # The writer's side

    def append(self, entry: Entry) -> None:
        """Adds an entry and wakes who waits for it."""
        if not is_piece(entry):
            self.others += 1
        if type(entry) is str or entry.kind not in QUIET:  # type: ignore[union-attr]
            self.has_spoken = True
        self.entries.append(entry)
        self._mark(0.0)
        if self.wakers:
            self._wake()

    def finish(self, outcome: Outcome) -> None:
        """Adds the outcome; nothing follows it."""
        self.outcome = outcome
        self._wake()
        enders, self._enders = self._enders, []
        for ender in enders:
            self.call(ender)

    def wake(self) -> None:
        """Wakes who waits. What was appended last has the time of now."""
        self._mark(_RESOLUTION)
        self._wake()

    def _mark(self, resolution: float) -> None:
        now, marks = clock.monotonic(), self._marks
        if not marks or now - marks[-1][1] > resolution:
            marks.append((len(self.entries) - 1, now))

    def cut(self, readers: Sequence[Position]) -> None:
        """Ends reading for *readers*."""
        for reader in readers:
            reader.is_cut = True
        self._wake()

    def _wake(self) -> None:
        wakers, self.wakers = self.wakers, []
        for waker in wakers:
            self.call(waker)

    # A reader's side

    @property
    def count(self) -> int:
        """How many pieces of the answer there are."""
        return len(self.entries) - self.others

    @property
    def pieces(self) -> Sequence[Entry]:
        """The pieces of the answer so far: text and typed outputs."""
        return [entry for entry in self.entries if is_piece(entry)] if self.others else self.entries

    def has_more(self, cursor: int) -> bool:
        """Whether there are more than *cursor* entries, or the outcome."""
        return len(self.entries) > cursor or self.outcome is not None

    def wait(self, cursor: int, timeout: float) -> bool:
        """Waits until there are more than *cursor* entries, or the outcome; False after *timeout* seconds."""
        if self.has_more(cursor):
            return True
        # A lock that the waker opens: a third of what a threading.Event costs, once for every paced chunk.
        gate = threading.Lock()
        gate.acquire()
        self.subscribe(gate.release)
        if not self.has_more(cursor):
            gate.acquire(timeout=timeout)
        self.unsubscribe(gate.release)
        return self.has_more(cursor)

    def wait_spoken(self, timeout: float) -> None:
        """Waits until the run has said more than steps, or has ended; *timeout* seconds at most."""
        deadline = clock.monotonic() + timeout
        while not self.has_spoken and self.outcome is None:
            left = deadline - clock.monotonic()
            if left <= 0:
                return
            self.wait(len(self.entries), left)

    def wait_outcome(self) -> Outcome:
        """Waits until the run has ended."""
        while self.outcome is None:
            self.wait(len(self.entries), timeout=60)
        return self.outcome

    def subscribe(self, waker: Waker) -> None:
        """Calls *waker* once, at the next entry or the outcome. Look at the log again after this."""
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

    def taken(self) -> None:
        """Wakes a writer that waits for its readers."""
        takers, self.takers = self.takers, []
        for taker in takers:
            taker()

    def events(self, first: int, entries: Sequence[Entry]) -> list[RunEvent]:
        """*entries*, which stand in the log from the place *first* on, as events."""
        offset = clock.now(), clock.monotonic()
        return [
            RunEvent(place + 1, *_event(entry), self._time_of(place, *offset))
            for place, entry in enumerate(entries, first)
        ]

    def _time_of(self, place: int, now: datetime, monotonic: float) -> datetime:
        mark = bisect_right(self._marks, place, key=_place) - 1
        at = self._marks[mark][1] if mark >= 0 else monotonic
        return now - timedelta(seconds=monotonic - at)


def _event(entry: Entry) -> tuple[str, Mapping[str, Any]]:
    return ("text", {"delta": entry}) if isinstance(entry, str) else (entry.kind, entry.data)


def _place(mark: tuple[int, float]) -> int:
    return mark[0]


def _here(waker: Waker) -> None:
    waker()


