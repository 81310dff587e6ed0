"""Answers beyond a limit: streamed and whole, of synchronous and asynchronous components."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engines import CountingStore, ask, async_engine, engine_of, remember, text_from
from tests.unit.logs import pieces_in

from appbuilder.core.message import Message
from appbuilder.core.store import INCOMPLETE, STATE
from appbuilder.engine.answer_limits import BATCH, AnswerLimits, measured
from appbuilder.engine.engine import Engine
from appbuilder.errors import AnswerTooLarge, Overloaded
from appbuilder.protocols.errors import to_problem
from appbuilder.settings import Settings


def streaming(pieces: list[Any], **settings: Any) -> tuple[Engine, CountingStore]:
    def run(message: Message[Any], stream: bool) -> Message[Any]:
        return remember(message, Message(iter(pieces)))

    engine, store, _ = engine_of(run, **settings)
    return engine, store


def streaming_async(pieces: list[Any], **settings: Any) -> tuple[Engine, CountingStore]:
    async def said() -> AsyncIterator[Any]:
        for piece in pieces:
            yield piece

    async def run(message: Message[Any], stream: bool) -> Message[Any]:
        return remember(message, Message(said()))

    return async_engine(run, **settings)


@pytest.mark.parametrize("make", [streaming, streaming_async])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("piece", ["x" * 10, "é" * 5, "\U0001f600\U0001f600ab", "x" * 400])
def test_an_answer_is_stopped_at_its_limit_and_kept_so_far(make: Any, stream: bool, piece: str) -> None:
    engine, store = make([piece] * 200, max_answer=1000)
    run = engine.start(ask(stream=stream))
    outcome = run.log.wait_outcome()
    assert isinstance(outcome.error, AnswerTooLarge)
    size = len(piece.encode())
    text = "".join(pieces_in(run.log))
    assert text == piece * (1000 // size)
    assert to_problem(outcome.error).status == 500
    assert "1000 bytes" in to_problem(outcome.error).text
    rows = dict(store.turns[-1].rows)
    assert rows["answer"]["content"].startswith(text)
    assert rows["answer"][STATE] == INCOMPLETE
    assert engine.budget.used == 0


@pytest.mark.parametrize("make", [streaming, streaming_async])
def test_an_answer_of_just_the_limit_is_whole(make: Any) -> None:
    engine, _ = make(["é" * 5] * 100, max_answer=1000)
    run = engine.start(ask(stream=True))
    assert text_from(run) == "é" * 500
    assert run.log.outcome is not None
    assert run.log.outcome.answer is not None


@pytest.mark.parametrize("content", ["x" * 1001, "\U0001f600" * 251, {"a": "x" * 1000}, ["ab"] * 201])
def test_a_whole_answer_beyond_the_limit_is_an_error(content: Any) -> None:
    engine, _, _ = engine_of(lambda message, stream: Message(content), max_answer=1000)
    outcome = engine.execute(ask()).log.wait_outcome()
    assert isinstance(outcome.error, AnswerTooLarge)
    assert engine.budget.used == 0


@pytest.mark.parametrize("content", ["x" * 1000, "\U0001f600" * 250, {"a": "x" * 900}])
def test_a_whole_answer_within_it_is_not(content: Any) -> None:
    engine, _, _ = engine_of(lambda message, stream: Message(content), max_answer=1000)
    assert engine.execute(ask()).log.wait_outcome().answer is not None


@pytest.mark.parametrize("text", ["x" * 95, "é" * 45, "\U0001f600" * 21])
def test_a_large_piece_of_text_is_sent_as_several(text: str) -> None:
    engine, _, _ = engine_of(lambda message, stream: Message(text), max_piece=20)
    run = engine.start(ask(stream=True))
    assert text_from(run) == text
    pieces = pieces_in(run.log)
    assert len(pieces) > 1
    assert all(len(piece.encode()) <= 20 for piece in pieces)


def test_bytes_are_text_and_other_values_stay_whole() -> None:
    engine, _ = streaming([b"x" * 50, {"a": "y" * 50}], max_piece=20)
    run = engine.start(ask(stream=True))
    run.log.wait_outcome()
    assert pieces_in(run.log) == ["x" * 20, "x" * 20, "x" * 10, {"a": "y" * 50}]


def test_pieces_of_no_text_come_to_an_end_too() -> None:
    def run(message: Message[Any], stream: bool) -> Message[Any]:
        return Message(iter([""] * 100_000))

    engine, _, _ = engine_of(run, max_in_flight=1_000_000)
    outcome = engine.execute(ask(stream=True)).log.wait_outcome()
    assert isinstance(outcome.error, Overloaded)


def test_what_runs_hold_is_counted_until_they_ended_and_the_last_reader_left() -> None:
    budget = 40 * BATCH

    def run(message: Message[Any], stream: bool) -> Message[Any]:
        return Message(iter(["x" * BATCH] * 10))

    engine, _, _ = engine_of(run, max_in_flight=budget)
    first = engine.start(ask(stream=True, session_id="a"))
    first.attach()
    assert first.log.wait_outcome().answer is not None
    assert 20 * BATCH <= engine.budget.used < budget
    cut = engine.execute(ask(stream=True, session_id="b")).log.wait_outcome()
    assert isinstance(cut.error, Overloaded)
    first.detach()
    assert engine.budget.used == 0
    assert engine.execute(ask(stream=True, session_id="c")).log.wait_outcome().answer is not None


def test_a_component_is_closed_where_it_stands() -> None:
    said: list[int] = []

    def pieces() -> Iterator[str]:
        try:
            for number in range(10_000):
                said.append(number)
                yield "x" * 100
        finally:
            said.append(-1)

    engine, _, _ = engine_of(lambda message, stream: Message(pieces()), max_answer=1000)
    engine.execute(ask(stream=True))
    assert said == [*range(11), -1]


@given(st.lists(st.text(), min_size=1))
def test_sizes_are_of_utf_8(pieces: list[str]) -> None:
    assert measured(pieces).size == len("".join(pieces).encode())
    assert measured(pieces).memory > measured(pieces).size


@given(st.text(), st.integers(4, 40))
def test_parts_are_small_and_the_whole_text(text: str, most: int) -> None:
    parts = AnswerLimits(Settings(max_piece=most)).parts(text)
    assert "".join(parts) == text
    assert all(len(part.encode()) <= most for part in parts)


def test_zero_is_no_limit() -> None:
    limits = AnswerLimits(Settings(max_answer=0, max_piece=0))
    limits.check(2**40)
    assert limits.parts("x" * 100) == ["x" * 100]
    assert limits.room(2**40) == BATCH
