"""Threads and the event loop: where a turn runs.

Asynchronous components run on one event loop per process, which lives on one real thread. What the loop
hands back (a commit, a step of the turn) runs on threads; where gevent has patched those it runs on
gevent's hub, see :mod:`appbuilder.engine.threads.gevent_portal`.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from appbuilder.engine.threads.thread_pool import spawn

_T = TypeVar("_T")

WORKERS = 32
"""Threads for the blocking parts of asynchronous components (``asyncio.to_thread``, name look-ups)."""


async def awaited(value: Any) -> Any:
    """What awaiting *value* gives; an asynchronous generator is not awaited but is the stream itself."""
    return await value if inspect.isawaitable(value) else value


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop: uvloop's where it is installed, which takes half the time for a paced piece."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class Portal:
    """The event loop of one process, and the way from it back to the threads that serve."""

    defers_commits = True
    """Whether a turn may end in another thread than the loop's."""

    def __init__(self) -> None:
        self._due: deque[Callable[[], Coroutine[Any, Any, None]]] = deque()
        self._woken = False
        self.loop = self._new_loop()
        self._start(self.loop.run_forever)

    def start(self, coroutine: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Starts a task on the loop; the coroutine handles its own errors."""
        # To wake the loop is a system call: once for all that came since it last looked.
        self._due.append(coroutine)
        if not self._woken:
            self._woken = True
            self.loop.call_soon_threadsafe(self._start_due)

    def _start_due(self) -> None:
        self._woken = False  # first, so that what is added from now on wakes it again
        while self._due:
            self._start_task(self._due.popleft())

    def call(self, function: Callable[[], Coroutine[Any, Any, _T]], context: contextvars.Context) -> _T:
        """Runs *function* on the loop, in *context*, and waits for what it returns."""
        future: Future[_T] = Future()
        self._submit(function, context, future.set_result, future.set_exception)
        try:
            return future.result()
        except _AsyncStop:
            raise StopAsyncIteration from None

    def wrap_context(self, context: contextvars.Context) -> None:
        """Makes what the turn's *context* holds fit for use on the loop."""

    def wake(self, waker: Callable[[], object]) -> None:
        """Calls *waker*, which wakes a reader among the threads that serve."""
        waker()

    async def in_worker(self, function: Callable[[], _T]) -> _T:
        """Runs *function*, which may block, where the store lives."""
        done: asyncio.Future[_T] = self.loop.create_future()

        def tell(value: Any, error: BaseException | None) -> None:
            self.loop.call_soon_threadsafe(set_result, done, value, error)

        self._post(function, tell)
        return await done

    async def run_quick(self, function: Callable[[], _T]) -> _T:
        """Runs *function*, a quick one that takes locks of the threads that serve."""
        return function()

    def _post(self, function: Callable[[], _T], tell: Callable[[Any, BaseException | None], None]) -> None:
        def job() -> None:
            try:
                value = function()
            except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
                tell(None, error)
            else:
                tell(value, None)

        self._begin(job)

    def _begin(self, job: Callable[[], None]) -> None:
        # Not in the loop's pool: turns that wait there for their session, or components that block there,
        # would keep the turn that has the session from being committed.
        spawn(job)

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        loop = new_loop()
        loop.set_default_executor(ThreadPoolExecutor(WORKERS, thread_name_prefix="appbuilder-async"))
        return loop

    def _start(self, target: Callable[[], object]) -> None:
        threading.Thread(target=target, name="appbuilder-loop", daemon=True).start()

    def _submit(
        self,
        function: Callable[[], Coroutine[Any, Any, _T]],
        context: contextvars.Context,
        succeed: Callable[[_T], object],
        fail: Callable[[BaseException], object],
    ) -> None:
        async def run() -> None:
            try:
                result = await function()
            except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
                fail(_AsyncStop() if isinstance(error, (StopAsyncIteration, StopIteration)) else error)
            else:
                succeed(result)

        self.loop.call_soon_threadsafe(context.copy().run, self._start_task, run)

    def _start_task(self, coroutine: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self.loop.create_task(coroutine())
        _tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(_tasks.discard)


_tasks: set[asyncio.Task[None]] = set()


def set_result(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    """Gives *future*, in its loop's thread, what was found out elsewhere."""
    if future.done():  # it was cancelled meanwhile
        return
    if error is None:
        future.set_result(value)
    elif isinstance(error, StopIteration):  # which a Future refuses to carry
        future.set_exception(RuntimeError("StopIteration was raised off the loop"))
    else:
        future.set_exception(error)


class _AsyncStop(Exception):
    """StopAsyncIteration, which a Future refuses to carry."""
