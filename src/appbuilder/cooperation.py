"""Saying that one is about to wait: what blocks says so first, and whoever shares its thread makes way.

Turns that are short share a thread (:mod:`appbuilder.engine.threads.batch_executor`). The store and the model
clients, which wait for others, call :func:`before_blocking`; elsewhere it does nothing. Work that several
turns can share, a commit, is put off until the turns that wait have had their turn.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable


class _Here(threading.local):
    yield_slot: Callable[[], None] | None = None
    defer: Callable[[Callable[[], None]], bool] | None = None


_here = _Here()


def before_blocking() -> None:
    """To be called before what may take longer than a turn of a loop: a commit, a request to a server."""
    yield_slot = _here.yield_slot
    if yield_slot is not None:
        yield_slot()


def defer(work: Callable[[], None]) -> bool:
    """Has *work*, which may block, done soon, when this thread has nothing better to do, or on another one.

    Others can add to it meanwhile. False: no hook is installed.
    """
    taken = _here.defer
    return taken is not None and taken(work)


def install_hooks(
    yield_slot: Callable[[], None] | None = None, defer: Callable[[Callable[[], None]], bool] | None = None
) -> None:
    """From now on *yield_slot* is called in this thread before something blocks, and *defer* takes work."""
    _here.yield_slot = yield_slot
    _here.defer = defer


def uses_greenlets() -> bool:
    """Whether gevent has made greenlets of this process's threads: others run only when one waits."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))
