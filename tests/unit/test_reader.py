"""Reading a run on an event loop: all of it, in order, in as few batches as it takes."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appbuilder.core.events import LoggedEvent
from appbuilder.engine.log import Outcome, RunLog
from appbuilder.engine.reader import MOST_IN_ONE_BATCH, Batch, LogReader

END = Outcome(answer={"content": ""})


def step(number: int) -> LoggedEvent:
    return LoggedEvent("step", {"id": number})


async def collect(log: RunLog) -> list[Batch]:
    async with aclosing(LogReader(log).batches()) as batches:
        return [batch async for batch in batches]


def joined(read: Sequence[Batch]) -> list[Any]:
    """Texts, and the numbers of steps, in order."""
    return [each if isinstance(each, str) else each.data["id"] for batch in read for each in batch.entries]


def test_a_run_that_has_ended_is_read_in_bounded_batches() -> None:
    log = RunLog()
    for number in range(MOST_IN_ONE_BATCH):
        log.append(str(number))
    log.append(step(1))
    log.finish(END)
    first, last = asyncio.run(collect(log))
    assert (first.entries, first.outcome) == (log.entries[:-1], None)
    assert (last.first, list(last.entries), last.outcome) == (MOST_IN_ONE_BATCH, log.entries[-1:], END)


def test_a_run_without_an_answer_ends() -> None:
    log = RunLog()
    log.finish(END)
    assert asyncio.run(collect(log)) == [Batch(log, 0, (), END)]


@pytest.fixture
def threads_change_often() -> Iterator[None]:
    """Else the writer is done before a reader has its turn."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("threads_change_often")
@pytest.mark.parametrize("readers", [1, 5])
def test_nothing_is_lost_or_doubled_under_a_fast_writer(readers: int) -> None:
    count = 50_000
    log = RunLog()

    def write() -> None:
        for number in range(count):
            log.append(str(number))
            if number % 1000 == 0:
                log.append(step(number))
        log.finish(END)

    async def read() -> list[list[Batch]]:
        reading = [asyncio.create_task(collect(log)) for _ in range(readers)]
        await asyncio.sleep(0)
        writer = threading.Thread(target=write)
        writer.start()
        found = await asyncio.gather(*reading)
        writer.join()
        return found

    for read_by_one in asyncio.run(read()):
        assert joined(read_by_one) == [
            each for number in range(count)
            for each in ((str(number), number) if number % 1000 == 0 else (str(number),))
        ]
        assert [batch.outcome for batch in read_by_one] == [None] * (len(read_by_one) - 1) + [END]
        assert len(read_by_one) < count / 5, "what waits together comes together"
    assert (log.wakers, log.readers) == ([], [])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(["piece", "step", "turn"]), max_size=30))
def test_whatever_the_order_of_writing_and_reading(moves: list[str]) -> None:
    log = RunLog()

    async def play() -> list[Any]:
        reading = asyncio.create_task(collect(log))
        for number, move in enumerate(moves):
            if move == "piece":
                log.append(str(number))
            elif move == "step":
                log.append(step(number))
            else:
                await asyncio.sleep(0)
        log.finish(END)
        return joined(await reading)

    assert asyncio.run(play()) == [
        str(number) if move == "piece" else number for number, move in enumerate(moves) if move != "turn"
    ]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 40), max_size=6))
def test_bursts(sizes: list[int]) -> None:
    log = RunLog()
    bursts = [[f"{burst}.{number}" for number in range(size)] for burst, size in enumerate(sizes)]

    async def play() -> list[Batch]:
        reading = asyncio.create_task(collect(log))
        for burst in bursts:
            for piece in burst:
                log.append(piece)
            for _ in range(5):  # the reader takes what there is
                await asyncio.sleep(0)
        log.finish(END)
        return await reading

    read = asyncio.run(play())
    assert [list(batch.entries) for batch in read if batch.entries] == [burst for burst in bursts if burst]


def test_what_comes_between_the_look_and_the_wait_wakes() -> None:
    class Sneaking(RunLog):
        """After a look something comes, before the reader can wait."""

        def __init__(self, *moves: Callable[[RunLog], None]) -> None:
            super().__init__()
            self.moves = list(moves)

        def subscribe(self, waker: Callable[[], None]) -> None:
            super().subscribe(waker)
            if self.moves:
                self.moves.pop(0)(self)

    log = Sneaking(
        lambda log: log.append("a"),
        lambda log: log.append("b"),
        lambda log: log.append(step(1)),
        lambda log: log.finish(END),
    )
    read = asyncio.run(asyncio.wait_for(collect(log), 10))
    assert joined(read) == ["a", "b", 1]
    assert read[-1].outcome == END


def test_what_comes_while_a_batch_is_read_comes_with_the_next() -> None:
    log = RunLog()

    async def play() -> list[list[Any]]:
        seen: list[list[Any]] = []
        log.append("0")
        async for batch in LogReader(log).batches():
            seen.append(list(batch.entries))
            if len(seen) == 1:
                for text in "123":
                    log.append(text)
            elif log.outcome is None:
                log.append("4")
                log.finish(END)
        return seen

    assert asyncio.run(play()) == [["0"], ["1", "2", "3"], ["4"]]


def test_a_reader_that_leaves_leaves_nothing_behind() -> None:
    log = RunLog()

    async def play() -> None:
        reading = asyncio.create_task(collect(log))
        await asyncio.sleep(0)
        assert len(log.wakers) == 1
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert log.wakers == []
        log.append("later")

    asyncio.run(play())
    log.finish(END)


def test_a_reader_whose_loop_is_closed_does_not_make_the_run_fail() -> None:
    log = RunLog()

    async def leave() -> None:
        reading = asyncio.create_task(collect(log))
        await asyncio.sleep(0)
        left.extend(log.wakers)
        reading.cancel()

    left: list[Callable[[], None]] = []
    asyncio.run(leave())
    (wake,) = left
    log.subscribe(wake)
    log.append("a")
    log.finish(END)
    assert (log.entries, log.outcome) == (["a"], END)
