"""Whether a turn could be stored: what ``/ready`` says.

A probe writes, so it is made seldom: its result counts for some seconds, all who ask meanwhile share it, and
no caller waits longer than a deadline. It runs in a thread of its own, as those of turns may all be
waiting for
the very database that is asked about.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from appbuilder import clock, errors
from appbuilder.logs import logger

WELL_FOR = 5.0
"""Seconds a good result counts, unless a turn fails in between."""
ILL_FOR = 1.0
"""Seconds a bad one counts, so that the end of a fault is soon seen."""
DEADLINE = 3.0
"""Seconds a caller waits."""
LOCKS = 2.0
"""Seconds a probe waits for locks of others, so that it can say that it was a lock."""
_UNKNOWN = "The database failed."
_LATE = f"The database did not answer within {DEADLINE:.0f} seconds."


@dataclass(frozen=True, slots=True)
class Probe:
    """One look at the database.

    :param failures: of turns, when it began.
    :param result: the reason why no turn could be stored; empty: one could. Not there while it runs.
    """

    began: float
    failures: int
    result: Future[str]


class Readiness:
    """Answers whether turns can be stored.

    :param check: proves it, or raises what is in the way; receives how many seconds it may wait for locks.
    :param failures: how often something has failed for the database's sake, so far.
    """

    def __init__(self, check: Callable[[float], None], failures: Callable[[], int]) -> None:
        self._check = check
        self._failures = failures
        self._probe: Probe | None = None
        self._ended = 0.0
        self._said = ""

    async def check(self) -> None:
        """Returns where a turn could be stored.

        :raises ServiceUnavailable: none could; the text says why, for any caller.
        """
        reason = await self._reason()
        if reason:
            raise errors.ServiceUnavailable(f"Not ready: {reason}", retry_after=ILL_FOR)

    async def _reason(self) -> str:
        probe = self._current()
        left = probe.began + DEADLINE - clock.monotonic()
        if not probe.result.done():
            await asyncio.wait({asyncio.wrap_future(probe.result)}, timeout=max(0.0, left))
        if probe.result.done():
            return probe.result.result()
        self._log(_LATE, _LATE)
        return _LATE

    def _current(self) -> Probe:
        """The probe whose result counts now; starts one if none is cached. Only the event loop asks."""
        probe = self._probe
        if probe is None or (probe.result.done() and self._is_over(probe)):
            probe = self._probe = Probe(clock.monotonic(), self._failures(), Future())
            probe.result.set_running_or_notify_cancel()  # who leaves does not cancel it for the others
            threading.Thread(target=self._run, args=(probe,), name="appbuilder-ready", daemon=True).start()
        return probe

    def _is_over(self, probe: Probe) -> bool:
        age = clock.monotonic() - self._ended
        if probe.result.result():
            return age >= ILL_FOR
        return age >= WELL_FOR or probe.failures != self._failures()

    def _run(self, probe: Probe) -> None:
        reason = details = ""
        try:
            self._check(LOCKS)
        except Exception as error:  # noqa: BLE001 - whatever it is, no turn could be stored
            reason, details = getattr(error, "reason", "") or _UNKNOWN, str(error)
        self._log(reason, details)
        self._ended = clock.monotonic()
        probe.result.set_result(reason)

    def _log(self, reason: str, details: str) -> None:
        """Logs what has changed since the last probe."""
        if reason == self._said:
            return
        self._said = reason
        if reason:
            logger.warning("No turn can be stored: %s", details)
        else:
            logger.info("Turns can be stored again.")
