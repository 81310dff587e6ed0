"""Threads for turns that are begun on an event loop.

To wake a thread for each turn costs more than a short turn itself. So one thread, the runner, takes the turns
that wait one after the other, and the loop wakes it once for all that came meanwhile. Nobody waits for
somebody else's turn, though: before what is known to block (:mod:`appbuilder.blocking`) the runner hands its
part over to another thread; and what blocks without saying so is found out by the loop within
:data:`PATIENCE`, which then gives each turn that waits a thread of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from appbuilder.blocking import before_blocking
from appbuilder.engine.workers import Workers, spawn

Job = Callable[[], None]
"""Raises nothing."""

PATIENCE = 0.001
"""Seconds a turn may wait behind another one before it gets a thread of its own."""


_NO_THREADS_PAUSE = 0.05
"""Seconds until threads are asked for again where the system gives none."""


class Crew:
    """The threads of one event loop. :meth:`submit` is the loop's; the rest belongs to the threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._threads = Workers()
        self._lock = threading.Lock()
        self._waiting: deque[Job] = deque()
        self._runner: _Runner | None = None
        self._taken = 0
        self._dispatching = False
        self._watching = False

    def submit(self, job: Job) -> None:
        """Runs *job* soon on some thread; to be called on the loop."""
        self._waiting.append(job)
        if not self._dispatching:
            self._dispatching = True
            # At the end of this turn of the loop, when all that came in with it is here.
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._dispatching = False
        self.appoint()
        if not self._watching and self._waiting:
            self._watching = True
            self._loop.call_later(PATIENCE, self._watch, self._taken)

    def _watch(self, taken_before: int) -> None:
        """Looks whether the runner gets on."""
        self._watching = False
        if not self._waiting:
            return
        if self._taken == taken_before:
            self._give_each_its_own()
        else:
            self._watching = True
            self._loop.call_later(PATIENCE, self._watch, self._taken)

    def _give_each_its_own(self) -> None:
        while True:
            with self._lock:
                self._runner = None
                job = self._waiting.popleft() if self._waiting else None
            if job is None:
                return
            if not self._start(job):
                self._waiting.appendleft(job)
                return

    def appoint(self) -> None:
        """Makes a thread the runner where turns wait and there is none."""
        with self._lock:
            if self._runner is not None or not self._waiting:
                return
            runner = self._runner = _Runner(self)
        if not self._start(runner.run):
            with self._lock:
                self._runner = None

    def _start(self, job: Job) -> bool:
        try:
            self._threads.run(job)
        except RuntimeError:  # Python's word for no more threads
            self._loop.call_soon_threadsafe(self._loop.call_later, _NO_THREADS_PAUSE, self._dispatch)
            return False
        return True

    def resign(self, runner: _Runner) -> None:
        """*runner* is the runner no more, if it was."""
        with self._lock:
            if self._runner is not runner:
                return
            self._runner = None
        self.appoint()

    def next_for(self, runner: _Runner) -> Job | None:
        """The turn *runner* is to take next; None: none waits, or it is the runner no more."""
        with self._lock:
            if self._runner is not runner:
                return None
            if not self._waiting:
                self._runner = None
                return None
            self._taken += 1
            return self._waiting.popleft()


class _Runner:
    """One thread's time as the runner."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def run(self) -> None:
        before_blocking(self._make_way)
        try:
            while (job := self._crew.next_for(self)) is not None:
                job()
        finally:
            before_blocking(None)

    def _make_way(self) -> None:
        before_blocking(None)
        self._crew.resign(self)


def run_beside(job: Job) -> None:
    """Runs *job* beside the caller: with the crew of the event loop it is called on, else on a thread."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        spawn(job)
        return
    _crew_of(loop).submit(job)


def _crew_of(loop: asyncio.AbstractEventLoop) -> Crew:
    crew = getattr(_here, "crew", None)
    if crew is None or crew[0] is not loop:
        crew = _here.crew = (loop, Crew(loop))
    return crew[1]


_here = threading.local()
