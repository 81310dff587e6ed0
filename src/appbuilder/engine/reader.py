"""The one way to read a run's log: a cursor, with a synchronous and an asynchronous face."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple

from appbuilder.core.events import Entry, RunEvent
from appbuilder.engine.log import Outcome, Position, RunLog, size_of
from appbuilder.engine.wakeups import LoopEvent, new_loop_event
from appbuilder.errors import Overloaded

MOST_IN_ONE_BATCH = 1000
"""Entries; so that what a slow reader has not taken yet stands in the log alone, not encoded as well."""
LARGEST_BATCH = 128 * 1024
"""Bytes, about, for the same reason; and so that a slow reader is seen to take something now and then."""


class Batch(NamedTuple):
    """What a reader takes at a time: entries in order, the *first* of which is that of this place, from 0 on;
    and the outcome with the last."""

    log: RunLog
    first: int
    entries: Sequence[Entry]
    outcome: Outcome | None

    def events(self) -> list[RunEvent]:
        """The entries as events."""
        return self.log.events(self.first, self.entries)


class LogReader(Position):
    """Reads a log from its beginning, in one thread or on one loop; close it.

    A writer waits for the fastest of its readers, and a reader too far behind is cut: it gets an outcome with
    an error then.
    """

    __slots__ = ("_wake", "cursor", "gate", "log")

    def __init__(self, log: RunLog) -> None:
        super().__init__()
        self.log = log
        self.cursor = 0
        self.gate: LoopEvent | None = None
        log.readers.append(self)

    def close(self) -> None:
        """Reads no more; may be called twice."""
        log = self.log
        if self.gate is not None:
            log.unsubscribe(self._wake)
        if self in log.readers:
            log.readers.remove(self)
            log.taken()

    def take(self) -> Batch | None:
        """What can be read now, a bounded part of it; None: nothing."""
        log, cursor = self.log, self.cursor
        if self.is_cut:
            return Batch(log, cursor, (), Outcome(error=_too_slow()))
        outcome = log.outcome  # first, so that an outcome is never seen without the entries before it
        entries: Sequence[Entry] = log.entries[cursor : cursor + MOST_IN_ONE_BATCH]
        if not entries:
            return None if outcome is None else Batch(log, cursor, (), outcome)
        if len(entries) == 1:
            self.taken += size_of(entries[0])
        else:
            entries, size = _together(entries)
            self.taken += size
        self.cursor = cursor + len(entries)
        if log.takers:
            log.taken()
        if outcome is not None and self.cursor < len(log.entries):
            outcome = None
        return Batch(log, cursor, entries, outcome)

    def wait(self, timeout: float) -> bool:
        """Waits, in a thread, until there is more; False after *timeout* seconds."""
        return self.is_cut or self.log.wait(self.cursor, timeout) or self.is_cut

    async def woken(self, beyond: int | None = None) -> None:
        """Waits, on the loop, until there is more or :attr:`gate` is opened; always on the same loop.

        :param beyond: of more entries than this; default: than were taken.
        """
        log, gate = self.log, self.gate or self.opened()
        log.subscribe(self._wake)
        cursor = self.cursor if beyond is None else beyond
        try:
            if len(log.entries) <= cursor and log.outcome is None and not self.is_cut:
                await gate.wait()
        finally:
            if log.wakers:
                log.unsubscribe(self._wake)

    def opened(self) -> LoopEvent:
        """What the running loop waits at; the same each time."""
        if self.gate is None:
            self.gate = new_loop_event()
            self._wake = self.gate.open_from_thread
        return self.gate

    async def batches(self) -> AsyncGenerator[Batch]:
        """All of the log, as it comes, on the loop; what waits together comes together."""
        try:
            while True:
                batch = self.take()
                if batch is None:
                    await self.woken()
                    continue
                yield batch
                if batch.outcome is not None:
                    return
        finally:
            self.close()


async def ended(log: RunLog) -> Outcome:
    """Waits, on the loop, until the run has ended; not a reader that a writer waits for."""
    gate = new_loop_event()
    log.subscribe_end(gate.open_from_thread)
    while log.outcome is None:
        await gate.wait()
    return log.outcome


def _together(entries: Sequence[Entry]) -> tuple[Sequence[Entry], int]:
    """The first of *entries*, as many as may be taken at a time, one at least; and their size."""
    size = 0
    for number, entry in enumerate(entries):
        more = size_of(entry)
        if number and size + more > LARGEST_BATCH:
            return entries[:number], size
        size += more
    return entries, size


def _too_slow() -> Overloaded:
    return Overloaded("The answer was not read fast enough and was cut off here; ask again.", retry_after=1)


def lagging(said: int, readers: Sequence[Position], most: int) -> tuple[bool, list[Position]]:
    """Decides on a writer that has said *said* (see ``size_of``) when its readers may be behind by *most*.

    :returns: whether it must wait, as even its fastest reader is further behind; and the readers to be cut,
        as they are further behind while another is not.
    """
    behind = [reader for reader in readers if said - reader.taken > most and not reader.is_cut]
    current = [reader for reader in readers if not reader.is_cut]
    if not behind:
        return False, []
    return (True, []) if len(behind) == len(current) else (False, behind)
