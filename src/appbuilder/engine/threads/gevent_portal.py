"""The bridge where gevent has patched threads.

A patched ``threading.Thread`` is a greenlet, on which an event loop would stop the whole process. So the
loop, and the threads for its blocking jobs, are started with the original functions. On those threads no
lock of the greenlets may be waited for (gevent's locks are not made for several threads: a waiter may never
wake): what takes one runs on the hub, as a greenlet.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

import gevent
from gevent import monkey
from gevent.event import AsyncResult

from appbuilder.core.context import context_var
from appbuilder.core.store import SessionStore, TurnRecord
from appbuilder.engine.threads.portal import WORKERS, Portal, _AsyncStop, set_result

_T = TypeVar("_T")


def _original(module: str, name: str) -> Any:
    return monkey.get_original(module, name)


class GeventPortal(Portal):
    """The event loop on a real thread, and the way from there to the hub of the greenlets that serve."""

    defers_commits = False  # a turn's decisions are the hub's

    def __init__(self) -> None:
        self._hub: Any = gevent.get_hub()
        _let_threads_log()
        super().__init__()

    def call(self, function: Callable[[], Coroutine[Any, Any, _T]], context: contextvars.Context) -> _T:
        self.wrap_context(context)
        result: Any = AsyncResult()
        post = gevent.get_hub().loop.run_callback_threadsafe
        self._submit(
            function,
            context,
            lambda value: post(result.set, value),
            lambda error: post(result.set_exception, error),
        )
        try:
            return result.get()  # type: ignore[no-any-return]
        except _AsyncStop:
            raise StopAsyncIteration from None

    def wrap_context(self, context: contextvars.Context) -> None:
        session = context.get(context_var)
        if session is not None and session.store is not None and not isinstance(session.store, GeventStore):
            session.store = GeventStore(session.store, self)

    def wake(self, waker: Callable[[], object]) -> None:
        if self._on_its_thread():
            waker()
        else:
            self._hub.loop.run_callback_threadsafe(gevent.spawn, waker)

    async def run_quick(self, function: Callable[[], _T]) -> _T:
        return await self.in_worker(function)

    def run_on_hub(self, function: Callable[[], _T]) -> _T:
        """Runs *function* as a greenlet and waits, from any thread, for what it returns."""
        if self._on_its_thread():
            return function()
        outcome: list[Any] = []
        waiting = _original("_thread", "allocate_lock")()
        waiting.acquire()

        def tell(value: Any, error: BaseException | None) -> None:
            outcome[:] = value, error
            waiting.release()

        self._post(function, tell)
        waiting.acquire()
        value, error = outcome
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]

    def _on_its_thread(self) -> bool:
        return bool(_original("_thread", "get_ident")() == self._hub.thread_ident)

    def _begin(self, job: Callable[[], None]) -> None:
        self._hub.loop.run_callback_threadsafe(gevent.spawn, job)

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        return _Loop(_original("selectors", "DefaultSelector")())

    def _start(self, target: Callable[[], object]) -> None:
        _start_thread(target)


class GeventStore:
    """A store for code that runs on other threads than the hub's: each call is made on the hub."""

    def __init__(self, store: SessionStore, portal: GeventPortal) -> None:
        self._store = store
        self._on_hub = portal.run_on_hub

    def history(
        self, session_id: str, key: str, limit: int, before: tuple[datetime, str] | None = None
    ) -> list[dict[str, Any]]:
        return self._on_hub(lambda: self._store.history(session_id, key, limit, before))

    def commit(self, turn: TurnRecord) -> None:
        self._on_hub(lambda: self._store.commit(turn))

    def ping(self) -> None:
        self._on_hub(self._store.ping)

    def close(self) -> None:
        self._on_hub(self._store.close)


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that waits with the operating system's own calls, and blocks on real threads."""

    def __init__(self, selector: Any) -> None:
        super().__init__(selector)
        self._jobs: Any = _original("queue", "SimpleQueue")()
        # Both are the loop's thread's own.
        self._busy = 0
        self._threads = 0

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """As asyncio's. A pool of threads given here would be one of greenlets: real ones are used."""
        if executor is not None and not isinstance(executor, ThreadPoolExecutor):
            return super().run_in_executor(executor, func, *args)
        future = self.create_future()
        self._busy += 1
        if self._threads < min(self._busy, WORKERS):
            self._threads += 1
            _start_thread(self._work)
        self._jobs.put((future, func, args))
        return future

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0  # noqa: A002
    ) -> Any:
        """As asyncio's, with the operating system's own resolver."""
        look_up = _original("socket", "getaddrinfo")
        return await self.run_in_executor(None, look_up, host, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        """As asyncio's, with the operating system's own resolver."""
        return await self.run_in_executor(None, _original("socket", "getnameinfo"), sockaddr, flags)

    def _work(self) -> None:
        while True:
            future, func, args = self._jobs.get()
            value, error = None, None
            try:
                value = func(*args)
            except BaseException as caught:  # noqa: BLE001 - it is raised again where it is awaited
                error = caught
            self.call_soon_threadsafe(self._finish, future, value, error)
            del future, func, args, value, error

    def _finish(self, future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
        self._busy -= 1
        set_result(future, value, error)


def _start_thread(target: Callable[[], object]) -> None:
    _original("_thread", "start_new_thread")(target, ())


def _let_threads_log() -> None:
    """Gives the handlers of ``logging`` real locks: components log on the loop's thread too.

    Between greenlets nothing changes as long as a handler does not switch while it writes; those for
    streams and files do not.
    """
    for reference in logging._handlerList:  # type: ignore[attr-defined]
        handler = reference()
        if handler is not None and handler.lock is not None:
            handler.lock = _original("_thread", "RLock")()
