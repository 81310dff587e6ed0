"""Connections that are lent: what was open before a close is lent to nobody after it."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import pytest
from sqlalchemy import exc

from appbuilder.store.databases.read_pool import ReadPool


class File:
    """Stands for a connection, and for which file it is to."""

    def __init__(self, made: list[File], version: int) -> None:
        self.version = version
        self.closed = 0
        made.append(self)

    def close(self) -> None:
        self.closed += 1


class Pool(ReadPool[File]):
    """Its connections are to the newest file; a close is what follows when there is another one."""

    def __init__(self, most: int = 2, timeout: float = 30.0) -> None:
        self.made: list[File] = []
        self.version = 0
        super().__init__(lambda: File(self.made, self.version), most, timeout)

    def replace_the_file(self) -> None:
        self.version += 1
        self.close()


def run_with(
    event: Callable[[], object], at: int, watched: set[CodeType], work: Callable[[], object]
) -> bool:
    """Runs *work*, with *event* before the *watched* functions' step *at*; False: there is no such step."""
    steps = itertools.count()
    happened = False

    def trace(frame: FrameType, what: str, _: Any) -> Any:
        nonlocal happened
        if frame.f_code not in watched:
            return None
        frame.f_trace_opcodes = True
        if what == "opcode" and next(steps) == at:
            happened = True
            event()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return happened


def lend_and_give_back_with_a_close(at: int) -> bool:
    pool = Pool()
    pool.release(*pool.acquire())

    def read() -> None:
        file, idle = pool.acquire()
        assert not file.closed
        pool.release(file, idle)

    happened = run_with(
        pool.replace_the_file, at, {ReadPool.acquire.__code__, ReadPool.release.__code__}, read
    )
    file, _ = pool.acquire()
    assert file.version == pool.version
    assert not file.closed
    assert all(each.closed == 1 for each in pool.made if each.version < pool.version)
    return happened


def test_a_close_at_any_moment() -> None:
    """Between any two steps of a loan and of its end."""
    steps = next(at for at in itertools.count() if not lend_and_give_back_with_a_close(at))
    assert steps > 10, "nothing was watched"


def test_the_one_used_last_is_used_next() -> None:
    pool = Pool()
    one, other = pool.acquire(), pool.acquire()
    pool.release(*one)
    pool.release(*other)
    assert pool.acquire()[0] is other[0]
    assert pool.acquire()[0] is one[0]
    assert len(pool.made) == 2


def got_by_who_waits(pool: Pool, happens: Callable[[], object]) -> File:
    """What somebody gets who waits for a connection when *happens* does."""
    got: list[File] = []
    waiter = threading.Thread(target=lambda: got.append(pool.acquire()[0]))
    waiter.start()
    while not pool._waiting:
        threading.Event().wait(0.001)
    happens()
    waiter.join()
    return got[0]


def test_who_waits_gets_what_comes_back() -> None:
    pool = Pool(most=1)
    lent = pool.acquire()
    assert got_by_who_waits(pool, lambda: pool.release(*lent)) is lent[0]


def test_who_waits_gets_a_new_one_after_a_close() -> None:
    pool = Pool(most=1)
    lent = pool.acquire()
    assert got_by_who_waits(pool, pool.replace_the_file).version == 1
    pool.release(*lent)
    assert lent[0].closed == 1


def test_all_are_lent() -> None:
    pool = Pool(most=1, timeout=0.0)
    pool.acquire()
    with pytest.raises(exc.TimeoutError, match="all connections are in use"):
        pool.acquire()


def test_one_that_cannot_be_made_takes_no_place() -> None:
    def make() -> File:
        if fails:
            raise OSError("no file")
        return File([], 0)

    fails = True
    pool: ReadPool[File] = ReadPool(make, 1, 0.0)
    with pytest.raises(OSError, match="no file"):
        pool.acquire()
    fails = False
    pool.acquire()
