"""Group commit: who leads, what is written together, and what happens when somebody fails or is killed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from appbuilder.errors import StoreUnavailable
from appbuilder.store.writer import GroupWriter, _Ticket


class Book:
    """A write function that records its groups and can be held."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.entered = threading.Semaphore(0)
        self.before_take: Exception | None = None
        self.broken: dict[int, BaseException] = {}
        """By the number of the group: what its write dies of."""

    def __call__(self, take: Callable[[], list[int]], deadline: float) -> Sequence[Exception | None]:
        if self.before_take is not None:
            error, self.before_take = self.before_take, None
            raise error
        group = take()
        self.groups.append(group)
        self.entered.release()
        assert self.hold.wait(10)
        if len(self.groups) - 1 in self.broken:
            raise self.broken[len(self.groups) - 1]
        return [ValueError(str(item)) if item < 0 else None for item in group]


def start(writer: GroupWriter[int], item: int, results: dict[int, BaseException | None]) -> threading.Thread:
    def work() -> None:
        try:
            writer.submit(item, 0.0)
            results[item] = None
        except BaseException as error:
            results[item] = error

    thread = threading.Thread(target=work, daemon=True)  # a broken writer must not hang the run
    thread.start()
    return thread


def queued(writer: GroupWriter[int], count: int) -> None:
    """Waits until *count* items are in the queue."""
    tick = threading.Event()
    for _ in range(2000):
        if len(writer._queue) == count:
            return
        tick.wait(0.005)
    raise AssertionError(f"{len(writer._queue)} in the queue, not {count}")


def held(items: list[int]) -> tuple[Book, list[threading.Thread], dict[int, BaseException | None]]:
    """A leader in the middle of its write, with *items* waiting behind it."""
    book, results = Book(), dict[int, BaseException | None]()
    writer = GroupWriter(book)
    book.hold.clear()
    threads = [start(writer, 0, results)]
    assert book.entered.acquire(timeout=10)
    for count, item in enumerate(items, 1):
        threads.append(start(writer, item, results))
        queued(writer, count)
    return book, threads, results


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_alone() -> None:
    book = Book()
    writer = GroupWriter(book)
    writer.submit(1, 0.0)
    writer.submit(2, 0.0)
    assert book.groups == [[1], [2]]


def test_who_waits_is_written_together_in_order() -> None:
    book, threads, results = held([1, 2, 3, 4])
    book.hold.set()
    join(threads)
    assert book.groups == [[0], [1, 2, 3, 4]]
    assert results == dict.fromkeys(range(5))


def test_an_error_reaches_its_own_item_only() -> None:
    book, threads, results = held([1, -2, 3])
    book.hold.set()
    join(threads)
    assert isinstance(results[-2], ValueError)
    assert results[1] is results[3] is None


def test_an_error_before_the_group_is_taken_fails_the_leader_alone() -> None:
    book, threads, results = held([1, 2, 3])
    book.before_take = StoreUnavailable("locked")
    book.hold.set()
    join(threads)
    assert isinstance(results[1], StoreUnavailable)
    assert results[2] is results[3] is None
    assert book.groups == [[0], [2, 3]]


@pytest.mark.parametrize("blow", [KeyboardInterrupt, SystemExit])
def test_a_leader_killed_in_its_write_leaves_nobody_waiting(blow: type[BaseException]) -> None:
    book, threads, results = held([1, 2])
    book.broken[0] = blow()
    book.hold.set()
    join(threads)
    assert isinstance(results[0], blow)
    assert results[1] is results[2] is None


def test_followers_of_a_killed_leader_get_an_error_of_ours() -> None:
    book, threads, results = held([1, 2])
    book.broken[1] = KeyboardInterrupt()
    book.hold.set()
    join(threads)
    assert isinstance(results[1], KeyboardInterrupt)
    assert isinstance(results[2], StoreUnavailable)


def test_a_follower_that_is_killed_while_it_waits_leaves_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    real_wait = _Ticket.wait

    def wait(ticket: _Ticket[int]) -> None:
        if ticket.item == 5:
            raise KeyboardInterrupt
        real_wait(ticket)

    monkeypatch.setattr(_Ticket, "wait", wait)
    book, results = Book(), dict[int, BaseException | None]()
    writer = GroupWriter(book)
    book.hold.clear()
    threads = [start(writer, 0, results)]
    assert book.entered.acquire(timeout=10)
    start(writer, 5, results).join(10)
    threads.append(start(writer, 6, results))
    queued(writer, 1)
    book.hold.set()
    join(threads)
    assert book.groups == [[0], [6]]
    assert isinstance(results[5], KeyboardInterrupt)
    assert results[6] is None
