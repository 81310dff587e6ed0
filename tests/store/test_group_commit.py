"""Group commit: who leads, what is written together, and what happens when somebody fails or is killed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from appbuilder import cooperation
from appbuilder.errors import StoreUnavailable
from appbuilder.store.databases.group_commit import GroupCommitter, _PendingWrite


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


def start(
    writer: GroupCommitter[int], item: int, results: dict[int, BaseException | None]
) -> threading.Thread:
    def work() -> None:
        try:
            writer.submit(item, 0.0)
            results[item] = None
        except BaseException as error:
            results[item] = error

    thread = threading.Thread(target=work, daemon=True)  # a broken writer must not hang the run
    thread.start()
    return thread


def queued(writer: GroupCommitter[int], count: int) -> None:
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
    writer = GroupCommitter(book)
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
    writer = GroupCommitter(book)
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
    real_wait = _PendingWrite.wait

    def wait(ticket: _PendingWrite[int]) -> None:
        if ticket.item == 5:
            raise KeyboardInterrupt
        real_wait(ticket)

    monkeypatch.setattr(_PendingWrite, "wait", wait)
    book, results = Book(), dict[int, BaseException | None]()
    writer = GroupCommitter(book)
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


# Items nobody waits for


class Told:
    """What the owners of items were told, and by which thread."""

    def __init__(self) -> None:
        self.errors: dict[int, BaseException | None] = {}
        self.threads: dict[int, int] = {}
        self._told = threading.Semaphore(0)

    def of(self, item: int) -> Callable[[BaseException | None], None]:
        def tell(error: BaseException | None) -> None:
            assert item not in self.errors, "told twice"
            self.errors[item] = error
            self.threads[item] = threading.get_ident()
            self._told.release()

        return tell

    def wait(self, count: int) -> dict[int, BaseException | None]:
        for _ in range(count):
            assert self._told.acquire(timeout=10)
        return self.errors


def test_who_does_not_wait_is_told_in_another_thread() -> None:
    book, told = Book(), Told()
    writer = GroupCommitter(book)
    for item in (1, 2, -3, 4):
        writer.submit_later(item, 0.0, told.of(item))
    errors = told.wait(4)
    assert isinstance(errors.pop(-3), ValueError)
    assert errors == {1: None, 2: None, 4: None}
    assert [item for group in book.groups for item in group] == [1, 2, -3, 4]
    assert threading.get_ident() not in told.threads.values()


def test_those_who_wait_and_those_who_do_not_are_written_together() -> None:
    book, results, told = Book(), dict[int, BaseException | None](), Told()
    writer = GroupCommitter(book)
    book.hold.clear()
    threads = [start(writer, 0, results)]
    assert book.entered.acquire(timeout=10)
    for count, item in enumerate(range(1, 7), 1):
        if item % 2:
            writer.submit_later(item, 0.0, told.of(item))
        else:
            threads.append(start(writer, item, results))
        queued(writer, count)
    book.hold.set()
    join(threads)
    assert told.wait(3) == {1: None, 3: None, 5: None}
    assert results == {0: None, 2: None, 4: None, 6: None}
    assert book.groups == [[0], [1, 2, 3, 4, 5, 6]]  # the first that waited, which nobody waits for, led


def test_leadership_passes_on_between_the_kinds_whoever_fails() -> None:
    book, results, told = Book(), dict[int, BaseException | None](), Told()
    writer = GroupCommitter(book)
    book.hold.clear()
    writer.submit_later(0, 0.0, told.of(0))
    assert book.entered.acquire(timeout=10)
    writer.submit_later(1, 0.0, told.of(1))
    threads = [start(writer, 2, results)]
    queued(writer, 2)
    book.before_take = StoreUnavailable("locked")  # for the leader of the next group, which is 1
    book.hold.set()
    join(threads)
    errors = told.wait(2)
    assert errors[0] is None
    assert isinstance(errors[1], StoreUnavailable)
    assert results == {2: None}
    assert book.groups == [[0], [2]]
    writer.submit(3, 0.0)
    assert book.groups[-1] == [3]


def test_a_group_that_dies_is_told_to_all_of_them() -> None:
    book, told = Book(), Told()
    writer = GroupCommitter(book)
    book.broken[0] = MemoryError()
    writer.submit_later(0, 0.0, told.of(0))
    assert isinstance(told.wait(1)[0], MemoryError)
    writer.submit_later(1, 0.0, told.of(1))
    assert told.wait(1)[1] is None


def test_who_fails_when_he_is_told_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    book, results, told = Book(), dict[int, BaseException | None](), Told()
    writer = GroupCommitter(book)
    book.hold.clear()
    threads = [start(writer, 0, results)]
    assert book.entered.acquire(timeout=10)

    def fails(_: BaseException | None) -> None:
        raise SystemExit("what follows from a commit failed")

    writer.submit_later(1, 0.0, fails)
    writer.submit_later(2, 0.0, told.of(2))
    queued(writer, 2)
    book.hold.set()
    join(threads)
    assert told.wait(1) == {2: None}
    writer.submit_later(3, 0.0, told.of(3))
    assert told.wait(1)[3] is None
    assert "what follows from that failed" in caplog.text


def test_a_commit_that_is_put_off_takes_in_what_comes_meanwhile() -> None:
    """A thread that turns share puts the leading off, and does it in the end."""
    book, told, deeds = Book(), Told(), list[Callable[[], None]]()
    writer = GroupCommitter(book)

    def defer(deed: Callable[[], None]) -> bool:
        deeds.append(deed)
        return True

    cooperation.install_hooks(defer=defer)
    try:
        for item in range(3):
            writer.submit_later(item, 0.0, told.of(item))
    finally:
        cooperation.install_hooks()
    assert (len(deeds), book.groups) == (1, [])
    deeds[0]()
    assert told.wait(3) == {0: None, 1: None, 2: None}
    assert book.groups == [[0, 1, 2]]
    assert set(told.threads.values()) == {threading.get_ident()}
