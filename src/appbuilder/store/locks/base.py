"""What the locks of sessions have in common: how one is waited for; and locks where no other can ask."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from appbuilder import clock
from appbuilder.core.cancel import CancelToken
from appbuilder.core.locks import SessionLock
from appbuilder.errors import SessionBusy

FIRST_PAUSE = 0.001
LONGEST_PAUSE = 0.05

LockT = TypeVar("LockT", bound=SessionLock)


def wait_for(attempt: Callable[[], LockT | None], timeout: float, token: CancelToken) -> LockT:
    """The lock, as soon as *attempt* gets it, with growing pauses between one try and the next.

    The holder may be a process on another machine, which cannot wake us.

    :raises SessionBusy: *timeout* seconds have passed.
    :raises TurnCancelled: *token* was set meanwhile.
    """
    deadline, pause, waited = clock.monotonic() + timeout, FIRST_PAUSE, False
    while True:
        token.raise_if_cancelled()
        lock = attempt()
        if lock is not None:
            lock.waited = waited
            return lock
        waited, left = True, deadline - clock.monotonic()
        if left <= 0:
            raise SessionBusy("This session is still answering another message; try again.")
        # Random, so that those who wait for one session do not ask in time.
        token.sleep(min(left, pause * random.uniform(0.5, 1.0)))  # noqa: S311 - no secret
        pause = min(2 * pause, LONGEST_PAUSE)


class FreeLocks:
    """Locks of a store that no other process can reach: the engine queues the turns of this one."""

    def try_acquire(self, session_id: str) -> SessionLock:
        return _FreeLock()

    def acquire(self, session_id: str, timeout: float, token: CancelToken) -> SessionLock:
        return _FreeLock()

    def close(self) -> None:
        """Nothing to give up."""


class _FreeLock:
    waited = False

    def check(self) -> None:
        """It cannot be lost."""

    def release(self) -> None:
        """Nothing waits for it."""
