"""Threads for turns that are begun on an event loop.

To wake a thread for each turn costs more than a short turn itself. So one thread, the runner, takes the turns
that wait one after the other, and the loop wakes it once for all that came meanwhile. What they put off (a
commit) it does at the end, for all of them.

Nobody waits for somebody else's turn, though. Before what is known to block (:mod:`appbuilder.blocking`) the
runner hands its part over to another thread. What blocks without saying so is found out by the loop within
twice :data:`PATIENCE`, which then gives each turn that waits a thread of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from appbuilder.blocking import share
from appbuilder.engine.workers import Workers, spawn

Job = Callable[[], None]
"""Raises nothing."""

PATIENCE = 0.04
"""Seconds after which a turn counts as blocking. Twice what another thread may keep the interpreter
(``serve/asgi/hosting.py`` sets that): a runner that only waits for it is not stuck."""


MOST_BEFORE_DEEDS = 64
"""Turns that follow one which put something off, before that is done."""
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
        self._keep_watch()

    def _keep_watch(self) -> None:
        if not self._watching and self._runner is not None:
            self._watching = True
            self._loop.call_later(PATIENCE, self._watch, self._runner, self._taken)

    def _watch(self, runner_before: _Runner, taken_before: int) -> None:
        """Looks whether the runner gets on."""
        self._watching = False
        if self._runner is runner_before and self._taken == taken_before:
            self._depose(runner_before)
        self._keep_watch()

    def _depose(self, runner: _Runner) -> None:
        """Gives each turn that waits behind *runner*, which is stuck, a thread; and what it put off."""
        with self._lock:
            if self._runner is runner:
                self._runner = None
            deeds, runner.deeds = runner.deeds, []
            waiting, self._waiting = self._waiting, deque()
        if deeds:
            self.begin(lambda: _do(deeds))
        for job in waiting:
            self.begin(job)

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

    def resign(self, runner: _Runner) -> list[Job]:
        """*runner* is the runner no more, if it was; what it put off and is still to be done."""
        with self._lock:
            deeds, runner.deeds = runner.deeds, []
            if self._runner is not runner:
                return deeds
            self._runner = None
        self.appoint()
        return deeds

    def put_off(self, runner: _Runner, deed: Job) -> bool:
        """Leaves *deed* for the end of *runner*'s time; False: that is over."""
        with self._lock:
            if self._runner is not runner:
                return False
            runner.deeds.append(deed)
            return True

    def begin(self, job: Job) -> None:
        """Begins *job* on a thread of its own, at once or as soon as there is one."""
        if not self._start(job):
            with self._lock:
                self._waiting.append(job)

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
        self.deeds: list[Job] = []
        self._crew = crew

    def run(self) -> None:
        share(self._make_way, self._put_off)
        after_first_deed = 0
        try:
            while after_first_deed < MOST_BEFORE_DEEDS and (job := self._crew.next_for(self)) is not None:
                job()
                after_first_deed += bool(self.deeds)
        finally:
            share()
            _do(self._crew.resign(self))

    def _put_off(self, deed: Job) -> bool:
        return self._crew.put_off(self, deed)

    def _make_way(self) -> None:
        share()
        deeds = self._crew.resign(self)
        if deeds:
            self._crew.begin(lambda: _do(deeds))


def _do(deeds: list[Job]) -> None:
    for deed in deeds:
        deed()


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
