"""RunCancellation runs whose sessions are to go, in whichever process they are."""

from __future__ import annotations

import time
from collections.abc import Callable

from appbuilder import clock
from appbuilder.core.runs import LiveRun, RunRegistry
from appbuilder.errors import SessionBusy

STOP_WAIT = 10.0
"""Seconds that runs have to end when they are stopped because their session goes."""
POLL_INTERVAL = 0.05


class RunCancellation:
    """The runs that are *matches*, asked to stop once each. Every look may block."""

    def __init__(self, register: RunRegistry, matches: Callable[[LiveRun], bool]) -> None:
        self._register = register
        self._matches = matches
        self._requested: set[str] = set()
        self._until = clock.monotonic() + STOP_WAIT

    def ended(self) -> bool:
        """Whether all have ended; new ones are asked to stop.

        :raises SessionBusy: some have not ended in time; they were asked to.
        """
        live = list(filter(self._matches, self._register.runs(None)))
        for run in live:
            if run.id not in self._requested:
                self._requested.add(run.id)
                self._register.stop(run.id)
        if live and clock.monotonic() > self._until:
            raise SessionBusy("A turn is being stopped and has not ended yet; try again in a moment.")
        return not live


def cancel_runs(register: RunRegistry, matches: Callable[[LiveRun], bool]) -> None:
    """Stops the runs that are *matches*, and returns when they have ended.

    :raises SessionBusy: some have not ended in time; they were asked to.
    """
    stopping = RunCancellation(register, matches)
    while not stopping.ended():
        time.sleep(POLL_INTERVAL)
