"""Threads and the event loop: where a turn runs.

Asynchronous components run on one event loop per process, which lives on one real thread. Under gevent a
patched ``threading.Thread`` is a greenlet, on which an event loop would stop the whole process: there the
loop's thread, and the threads of its executor, are started with the original function, and what the loop
hands back (a commit) runs as a greenlet of the hub that made the bridge, since the store's locks and
connections are the hub's.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from appbuilder.core.message import AsyncContentStream
from appbuilder.per_process import PerProcess

_T = TypeVar("_T")


def spawn(target: Callable[[], None]) -> None:
    """Runs *target* beside the caller: on a thread, or under gevent on a greenlet."""
    threading.Thread(target=target, name="appbuilder-turn", daemon=True).start()


def bridge() -> Bridge:
    """This process's bridge."""
    return _bridge.get()


def iterate(stream: AsyncContentStream, context: contextvars.Context) -> Iterator[Any]:
    """Steps an asynchronous iterator from a thread; for a component whose ``run`` is synchronous."""
    here = bridge()
    try:
        while True:
            try:
                yield here.call(stream.__anext__, context)
            except StopAsyncIteration:
                return
    finally:
        here.call(stream.aclose, context)


class Bridge:
    """The event loop of one process, and the way from it back to the threads that serve."""

    def __init__(self) -> None:
        self._hub = _gevent_hub()
        self._executor: Executor = NativeExecutor() if self._hub else ThreadPoolExecutor(
            max_workers=32, thread_name_prefix="appbuilder-async"
        )
        self.loop = _new_loop(patched=self._hub is not None)
        self.loop.set_default_executor(self._executor)
        _start_native(self.loop.run_forever)

    def start(self, coroutine: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Starts a task on the loop; the coroutine handles its own errors."""
        self.loop.call_soon_threadsafe(_start_task, self.loop, coroutine)

    def call(self, function: Callable[[], Coroutine[Any, Any, _T]], context: contextvars.Context) -> _T:
        """Runs *function* on the loop, in *context*, and waits for what it returns."""
        future: Future[_T] = Future()

        async def run() -> None:
            try:
                result = await function()
            except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
                future.set_exception(_leave_loop(error))
            else:
                future.set_result(result)

        self.loop.call_soon_threadsafe(context.copy().run, _start_task, self.loop, run)
        try:
            return future.result()
        except _AsyncStop:
            raise StopAsyncIteration from None

    async def in_worker(self, function: Callable[[], _T]) -> _T:
        """Runs blocking *function* where the store lives: on a thread, or on the hub as a greenlet."""
        if self._hub is None:
            return await self.loop.run_in_executor(self._executor, function)
        import gevent

        done: asyncio.Future[_T] = self.loop.create_future()

        def job() -> None:
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - it is raised again on the loop
                self.loop.call_soon_threadsafe(done.set_exception, error)
            else:
                self.loop.call_soon_threadsafe(done.set_result, result)

        self._hub.loop.run_callback_threadsafe(gevent.spawn, job)
        return await done


_bridge = PerProcess(Bridge)


class NativeExecutor(Executor):
    """A real thread per job, also where gevent has patched ``threading``."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Starts *fn* on a thread of its own."""
        future: Future[Any] = Future()

        def job() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is raised again by future.result()
                future.set_exception(error)
            else:
                future.set_result(result)

        _start_native(job)
        return future


class _AsyncStop(Exception):
    """StopAsyncIteration, which a Future refuses to carry."""


def _leave_loop(error: BaseException) -> BaseException:
    return _AsyncStop() if isinstance(error, (StopAsyncIteration, StopIteration)) else error


def _start_task(loop: asyncio.AbstractEventLoop, coroutine: Callable[[], Coroutine[Any, Any, None]]) -> None:
    task = loop.create_task(coroutine())
    _tasks.add(task)  # the loop itself holds tasks weakly
    task.add_done_callback(_tasks.discard)


_tasks: set[asyncio.Task[None]] = set()


def _gevent_hub() -> Any:
    """The caller's hub where gevent has patched threads, else None."""
    if "gevent.monkey" not in sys.modules:
        return None
    import gevent
    from gevent import monkey

    return gevent.get_hub() if monkey.is_module_patched("threading") else None


def _start_native(target: Callable[[], object]) -> None:
    """Starts a real thread."""
    if _gevent_hub() is None:
        threading.Thread(target=target, name="appbuilder-loop", daemon=True).start()
        return
    from gevent import monkey

    monkey.get_original("_thread", "start_new_thread")(target, ())


def _new_loop(*, patched: bool) -> asyncio.AbstractEventLoop:
    """An event loop that waits with the operating system's own calls."""
    if not patched:
        return asyncio.new_event_loop()
    from gevent import monkey

    return asyncio.SelectorEventLoop(monkey.get_original("selectors", "DefaultSelector")())
