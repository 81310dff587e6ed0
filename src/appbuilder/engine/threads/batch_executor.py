"""Threads for turns that are begun on an event loop.

To wake a thread for each turn costs more than a short turn itself. So one thread, the runner, takes the turns
that wait one after the other, and the loop wakes it once for all that came meanwhile. What they put off (a
commit) it does at the end, for all of them.

No turn waits for another, though. Before what is known to block (:mod:`appbuilder.cooperation`)
the runner hands its part over to another thread. What blocks without saying so is found out by the loop
within twice :data:`STALL_TIMEOUT`, which then gives each turn that waits a thread of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from appbuilder.cooperation import install_hooks
from appbuilder.engine.threads.thread_pool import ThreadPool, spawn

Job = Callable[[], None]
"""Raises nothing."""

STALL_TIMEOUT = 0.04
"""Seconds after which a turn counts as blocking. Twice what another thread may keep the interpreter
(``serve/asgi/hosting.py`` sets that): a runner that only waits for it is not stuck."""


MAX_BEFORE_DEFERRED = 64
"""Turns that follow one which put something off, before that is done."""
_NO_THREADS_PAUSE = 0.05
"""Seconds until threads are asked for again where the system gives none."""


class BatchExecutor:
    """The threads of one event loop. :meth:`submit` is the loop's; the rest belongs to the threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._threads = ThreadPool()
        self._lock = threading.Lock()
        self._waiting: deque[Job] = deque()
        self._worker: _BatchWorker | None = None
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
        self.start_worker()
        self._schedule_watch()

    def _schedule_watch(self) -> None:
        if not self._watching and self._worker is not None:
            self._watching = True
            self._loop.call_later(STALL_TIMEOUT, self._watch, self._worker, self._taken)

    def _watch(self, worker_before: _BatchWorker, taken_before: int) -> None:
        """Looks whether the runner gets on."""
        self._watching = False
        if self._worker is worker_before and self._taken == taken_before:
            self._detach_worker(worker_before)
        self._schedule_watch()

    def _detach_worker(self, worker: _BatchWorker) -> None:
        """Gives each turn that waits behind *worker*, which is stuck, a thread; and what it put off."""
        with self._lock:
            if self._worker is worker:
                self._worker = None
            deferred, worker.deferred = worker.deferred, []
            waiting, self._waiting = self._waiting, deque()
        if deferred:
            self.begin(lambda: _run_deferred(deferred))
        for job in waiting:
            self.begin(job)

    def start_worker(self) -> None:
        """Makes a thread the runner if turns wait without one."""
        with self._lock:
            if self._worker is not None or not self._waiting:
                return
            worker = self._worker = _BatchWorker(self)
        if not self._start(worker.run):
            with self._lock:
                self._worker = None

    def _start(self, job: Job) -> bool:
        try:
            self._threads.run(job)
        except RuntimeError:  # Python's word for no more threads
            self._loop.call_soon_threadsafe(self._loop.call_later, _NO_THREADS_PAUSE, self._dispatch)
            return False
        return True

    def finish(self, worker: _BatchWorker) -> list[Job]:
        """*worker* is the runner no more, if it was; what it put off and is still to be done."""
        with self._lock:
            deferred, worker.deferred = worker.deferred, []
            if self._worker is not worker:
                return deferred
            self._worker = None
        self.start_worker()
        return deferred

    def defer(self, worker: _BatchWorker, work: Job) -> bool:
        """Leaves *work* for the end of *worker*'s time; False: that is over."""
        with self._lock:
            if self._worker is not worker:
                return False
            worker.deferred.append(work)
            return True

    def begin(self, job: Job) -> None:
        """Begins *job* on a thread of its own, at once or as soon as there is one."""
        if not self._start(job):
            with self._lock:
                self._waiting.append(job)

    def next_for(self, worker: _BatchWorker) -> Job | None:
        """The turn *worker* is to take next; None: none waits, or it is the runner no more."""
        with self._lock:
            if self._worker is not worker:
                return None
            if not self._waiting:
                self._worker = None
                return None
            self._taken += 1
            return self._waiting.popleft()


class _BatchWorker:
    """One thread's time as the runner."""

    def __init__(self, executor: BatchExecutor) -> None:
        self.deferred: list[Job] = []
        self._executor = executor

    def run(self) -> None:
        install_hooks(self._yield_slot, self._defer)
        after_first_deferral = 0
        try:
            while (
                after_first_deferral < MAX_BEFORE_DEFERRED
                and (job := self._executor.next_for(self)) is not None
            ):
                job()
                after_first_deferral += bool(self.deferred)
        finally:
            install_hooks()
            _run_deferred(self._executor.finish(self))

    def _defer(self, work: Job) -> bool:
        return self._executor.defer(self, work)

    def _yield_slot(self) -> None:
        install_hooks()
        deferred = self._executor.finish(self)
        if deferred:
            self._executor.begin(lambda: _run_deferred(deferred))


def _run_deferred(deferred: list[Job]) -> None:
    for work in deferred:
        work()


def run_concurrently(job: Job) -> None:
    """Runs *job* in the background: with the executor of the event loop it is called on, else on a thread."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        spawn(job)
        return
    _executor_of(loop).submit(job)


def _executor_of(loop: asyncio.AbstractEventLoop) -> BatchExecutor:
    executor = getattr(_local, "executor", None)
    if executor is None or executor[0] is not loop:
        executor = _local.executor = (loop, BatchExecutor(loop))
    return executor[1]


_local = threading.local()
