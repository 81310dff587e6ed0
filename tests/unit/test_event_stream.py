"""A stream of the service as an ASGI response, and the outcome of a whole answer, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from appbuilder.core.events import text_in
from appbuilder.engine.log import Outcome, RunLog
from appbuilder.engine.reader import MOST_IN_ONE_BATCH, Batch
from appbuilder.errors import ComponentError, ModelTimeout
from appbuilder.protocols import sse
from appbuilder.serve.http import event_stream as stream_module
from appbuilder.serve.http.event_stream import EventStream, outcome_of
from appbuilder.settings import Settings

END = Outcome(answer={"content": ""})
PATIENT = {"heartbeat": 3600.0, "first_piece_wait": 3600.0}


class Words:
    """Pieces joined by commas, and how it ended."""

    def events(self, batch: Batch) -> bytes:
        return b"".join(text_in(entry).encode() + b"," for entry in batch.entries)

    def last(self, outcome: Outcome) -> bytes:
        return b"END" if outcome.error is None else type(outcome.error).__name__.encode()


class Reading:
    """A run, and the client that reads it: what it got, and ways to be slow and to leave."""

    def __init__(self, **settings: Any) -> None:
        self.log = RunLog()
        self.request = SimpleNamespace(request_id="r")
        self.readers: list[int] = []
        self.sent: list[Any] = []
        self.settings = Settings(**{**PATIENT, **settings})
        self.came = asyncio.Condition()
        self.takes = asyncio.Event()
        self.takes.set()
        self.left = asyncio.Event()
        self.broken = False
        self.task: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    # The run's face

    def attach(self) -> None:
        self.readers.append(1)

    def detach(self) -> None:
        self.readers.append(-1)

    # The client

    async def send(self, message: Any) -> None:
        await self.takes.wait()
        if self.broken:
            raise OSError("the reader has left")
        async with self.came:
            self.sent.append(message)
            self.came.notify_all()

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    def begin(self, encoder: Any = None) -> None:
        run: Any = self
        response = EventStream(run, encoder or Words(), self.settings, [(b"x", b"y")])
        self.task = asyncio.ensure_future(response({}, self.receive, self.send))

    async def until(self, count: int) -> None:
        async with self.came:
            await asyncio.wait_for(self.came.wait_for(lambda: len(self.sent) >= count), 30)

    async def end(self) -> list[bytes]:
        """The parts of the body, when all is over."""
        await asyncio.wait_for(self.task, 30)
        start, *parts = self.sent
        assert start["type"] == "http.response.start"
        assert (b"x", b"y") in start["headers"]
        assert [part["more_body"] for part in parts] == [True] * (len(parts) - 1) + [False]
        return [part["body"] for part in parts]


def on_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    def run(**given: Any) -> None:
        asyncio.run(test(**given))  # type: ignore[arg-type]

    run.__name__ = test.__name__
    return run


@on_a_loop
async def test_what_waits_together_leaves_together() -> None:
    reading = Reading()
    for piece in "abc":
        reading.log.append(piece)
    reading.begin()
    await reading.until(2)
    reading.log.append("d")
    await reading.until(3)
    reading.log.append("e")
    reading.log.finish(END)
    assert await reading.end() == [b"a,b,c,", b"d,", b"e,END"]
    assert reading.readers == [1, -1]


@on_a_loop
async def test_a_slow_reader_s_backlog_leaves_in_bounded_parts() -> None:
    reading = Reading()
    reading.log.append("first")
    reading.takes.clear()
    reading.begin()
    await asyncio.sleep(0)
    for _ in range(2 * MOST_IN_ONE_BATCH + 5):
        reading.log.append("x")
    reading.log.finish(END)
    reading.takes.set()
    parts = await reading.end()
    assert max(part.count(b",") for part in parts) == MOST_IN_ONE_BATCH
    assert b"".join(parts) == b"first," + b"x," * (2 * MOST_IN_ONE_BATCH + 5) + b"END"


@on_a_loop
async def test_a_run_that_failed_before_there_was_a_piece_is_an_error_not_a_stream() -> None:
    reading = Reading()
    reading.begin()
    await asyncio.sleep(0)
    reading.log.finish(Outcome(error=ModelTimeout("late")))
    with pytest.raises(ModelTimeout):
        await asyncio.wait_for(reading.task, 30)
    assert (reading.sent, reading.readers) == ([], [1, -1])


@on_a_loop
async def test_a_run_that_failed_later_has_its_error_as_the_last_event() -> None:
    reading = Reading()
    reading.begin()
    reading.log.append("a")
    await reading.until(2)
    reading.log.finish(Outcome(error=ModelTimeout("late")))
    assert await reading.end() == [b"a,", b"ModelTimeout"]


@on_a_loop
async def test_the_status_does_not_wait_for_ever_and_signs_of_life_fill_the_silence() -> None:
    reading = Reading(first_piece_wait=0.01, heartbeat=0.05)
    reading.begin()
    await reading.until(3)
    assert [part["body"] for part in reading.sent[1:]] == [sse.COMMENT] * (len(reading.sent) - 1)
    reading.log.append("a")
    reading.log.finish(END)
    parts = await reading.end()
    assert parts[-1] == b"a,END"


@pytest.mark.parametrize("when", ["before there is a piece", "later", "while it takes nothing"])
def test_a_reader_who_leaves_is_left_alone(when: str) -> None:
    async def main() -> None:
        reading = Reading()
        if when != "before there is a piece":
            reading.log.append("a")
        reading.begin()
        if when == "later":
            await reading.until(2)
        if when == "while it takes nothing":
            reading.takes.clear()
        await asyncio.sleep(0)
        sent = len(reading.sent)
        reading.left.set()
        await asyncio.sleep(0)
        reading.takes.set()
        await asyncio.wait_for(reading.task, 30)
        assert len(reading.sent) <= sent + 1  # what was on its way
        assert reading.readers == [1, -1]
        assert reading.log.wakers == []

    asyncio.run(main())


@on_a_loop
async def test_a_server_that_tells_that_the_reader_has_left() -> None:
    reading = Reading()
    reading.begin()
    reading.log.append("a")
    await reading.until(2)
    reading.broken = True
    reading.log.append("b")
    await asyncio.wait_for(reading.task, 30)
    assert reading.readers == [1, -1]


@on_a_loop
async def test_what_cannot_be_written_ends_the_stream_with_a_last_event() -> None:
    class Breaks(Words):
        def events(self, batch: Batch) -> bytes:
            if "circle" in batch.entries:
                raise ValueError("no JSON")
            return super().events(batch)

    reading = Reading()
    reading.begin(Breaks())
    reading.log.append("a")
    await reading.until(2)
    reading.log.append("circle")
    assert await reading.end() == [b"a,", ComponentError.__name__.encode()]


# Whole answers


@on_a_loop
async def test_an_outcome_is_waited_for() -> None:
    reading = Reading()
    run: Any = reading
    asked = asyncio.ensure_future(outcome_of(run, reading.receive))
    await asyncio.sleep(0)
    assert reading.readers == [1]
    await asyncio.to_thread(reading.log.finish, END)
    assert await asyncio.wait_for(asked, 30) is END
    assert reading.readers == [1, -1]
    assert await outcome_of(run, reading.receive) is END  # there already


def test_who_asked_for_a_whole_answer_and_leaves_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "WATCH_AFTER", 0.0)

    async def main() -> None:
        reading = Reading()
        run: Any = reading
        asked = asyncio.ensure_future(outcome_of(run, reading.receive))
        await asyncio.sleep(0)
        reading.left.set()
        assert await asyncio.wait_for(asked, 30) is None
        assert reading.readers == [1, -1]

    asyncio.run(main())
