"""Calls functions of the program's own, whatever they are and however they end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import queue
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from anyio import fail_after

from appbuilder.errors import AppBuilderError, ServiceUnavailable
from appbuilder.logs import logger

HOOK_WAIT = 10.0
"""Seconds a function may take, with the wait for one of its threads."""
THREADS = 40
"""Calls of one synchronous function at the same time. One that never returns keeps its thread for ever."""


class HookThreads:
    """Threads for the calls of one function. To be used on one event loop.

    Not a pool whose thread counts as free once its caller has stopped waiting: a function that hangs would
    get another thread for each request.
    """

    def __init__(self, most: int = THREADS) -> None:
        self._most = most
        self._free = asyncio.Semaphore(most)
        self._idle: list[queue.SimpleQueue[Callable[[], None]]] = []
        self._late = 0

    async def call(self, function: Callable[[], Any]) -> Any:
        """What *function* returns, run in a thread.

        :raises ServiceUnavailable: all threads are held by calls that have taken too long.
        """
        if self._late >= self._most:
            raise _undecided()
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        context, worker = contextvars.copy_context(), self._idle.pop() if self._idle else _worker()

        def settle(value: Any, error: BaseException | None) -> None:
            self._idle.append(worker)
            self._free.release()
            if done.cancelled():
                self._late -= 1
            elif error is None:
                done.set_result(value)
            else:
                done.set_exception(error)

        def work() -> None:
            value: Any = None
            error: BaseException | None = None
            try:
                value = context.run(function)
            except StopIteration:
                error = RuntimeError("the function raised StopIteration")  # a future does not take that
            except BaseException as raised:  # noqa: BLE001 - handed to the request that waits for it
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, value, error)

        worker.put(work)
        try:
            return await done
        except asyncio.CancelledError:
            self._late += done.cancelled()
            raise


def _worker() -> queue.SimpleQueue[Callable[[], None]]:
    """A new thread's jobs. A daemon: one that hangs must not keep the process from its end."""
    jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def run() -> None:
        while True:
            jobs.get()()

    threading.Thread(target=run, name="appbuilder-hook", daemon=True).start()
    return jobs


async def call_hook(threads: HookThreads, setting: str, hook: Callable[..., Any], *args: Any) -> Any:
    """What *hook* returns. A synchronous one runs in one of *threads*.

    :param setting: the variable that names it, for the log.
    :raises AppBuilderError: what it raised.
    :raises ServiceUnavailable: it failed in another way, or took too long.
    """
    try:
        with fail_after(HOOK_WAIT):
            if inspect.iscoroutinefunction(hook):
                return await hook(*args)
            found = await threads.call(lambda: hook(*args))
            return await found if isinstance(found, Awaitable) else found
    except AppBuilderError:
        raise
    except Exception as error:  # noqa: BLE001 - of the program's own function
        # Without the error's own words: they may hold what the caller has sent.
        trace = "".join(traceback.format_tb(error.__traceback__))
        logger.error("the function of %s failed with %s:\n%s", setting, type(error).__name__, trace)
        raise _undecided() from None


def _undecided() -> ServiceUnavailable:
    return ServiceUnavailable("The service cannot decide about this now; try again in a moment.")
