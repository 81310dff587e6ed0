"""Saying that one is about to wait: what blocks says so first, and whoever shares its thread makes way.

Turns that are short share a thread (:mod:`appbuilder.engine.crew`). The store and the model clients, which
wait for others, call :func:`about_to_block`; elsewhere it does nothing. Work that several turns can share, a
commit, is put off until the turns that wait have had their turn.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable


class _Here(threading.local):
    make_way: Callable[[], None] | None = None
    put_off: Callable[[Callable[[], None]], bool] | None = None


_here = _Here()


def about_to_block() -> None:
    """To be called before what may take longer than a turn of a loop: a commit, a request to a server."""
    make_way = _here.make_way
    if make_way is not None:
        make_way()


def put_off(work: Callable[[], None]) -> bool:
    """Has *work*, which may block, done soon, when this thread has nothing better to do, or on another one.

    Others can add to it meanwhile. False: there is nobody to do it.
    """
    taken = _here.put_off
    return taken is not None and taken(work)


def share(
    make_way: Callable[[], None] | None = None, put_off: Callable[[Callable[[], None]], bool] | None = None
) -> None:
    """From now on *make_way* is called in this thread before something blocks, and *put_off* takes work."""
    _here.make_way = make_way
    _here.put_off = put_off


def in_greenlets() -> bool:
    """Whether gevent has made greenlets of this process's threads: others run only when one waits."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))
