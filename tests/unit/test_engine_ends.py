"""How turns end: what a component may hand out, raise or leave open, and nothing of it stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from tests.unit.engines import ask, async_engine, engine_of, remember, text_from
from tests.unit.logs import pieces_in

from appbuilder.core.context import get_context
from appbuilder.core.message import Message
from appbuilder.core.user_session import UserSession
from appbuilder.engine.persistence import RetentionPolicy
from appbuilder.errors import ComponentError, Draining, Overloaded, TurnCancelled


def test_a_piece_is_sent_as_it_was_when_it_was_handed_out() -> None:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        def pieces() -> Iterator[Any]:
            state = {"n": 0}
            for _ in range(3):
                state["n"] += 1
                yield state

        return Message(pieces())

    engine, _, _ = engine_of(script)
    run = engine.start(ask(stream=True))
    run.log.wait_outcome()
    assert pieces_in(run.log) == [{"n": 1}, {"n": 2}, {"n": 3}]


@pytest.mark.parametrize("whole", [True, False])
def test_what_cannot_be_sent_is_an_error_of_the_component(whole: bool) -> None:
    circle: dict[str, Any] = {}
    circle["circle"] = circle
    engine, _, _ = engine_of(lambda message, stream: Message(circle if whole else iter(["a", circle])))
    outcome = engine.start(ask(stream=True)).log.wait_outcome()
    assert isinstance(outcome.error, ComponentError)
    engine.drain(10)
    assert not engine._live


def test_a_component_s_own_cancellation_is_its_failure() -> None:
    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        remember(message, message)
        raise asyncio.CancelledError

    engine, store = async_engine(script)
    assert isinstance(engine.execute(ask()).log.wait_outcome().error, ComponentError)
    assert store.turns == []


def test_an_asynchronous_stream_of_a_synchronous_run_is_cut_while_it_waits() -> None:
    closed: list[str] = []
    waits = threading.Event()

    def script(message: Message[Any], stream: bool) -> Message[Any]:
        async def pieces() -> AsyncIterator[str]:
            try:
                yield "part"
                waits.set()
                await asyncio.sleep(3600)
            finally:
                closed.append("closed")

        return remember(message, Message(pieces()))

    engine, store, _ = engine_of(script)
    run = engine.start(ask(stream=True))
    run.attach()
    assert waits.wait(10)
    run.detach()
    assert isinstance(run.log.wait_outcome().error, TurnCancelled)
    assert closed == ["closed"]
    assert [row["content"] for _, row in store.turns[0].rows] == ["hi", "part"]


def test_a_component_that_catches_its_cancellation_is_cut_at_its_next_piece() -> None:
    waits = threading.Event()

    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        async def pieces() -> AsyncIterator[str]:
            while True:
                yield "piece"
                waits.set()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)

        return Message(pieces())

    engine, _ = async_engine(script)
    run = engine.start(ask(stream=True))
    run.attach()
    assert waits.wait(10)
    run.detach()
    assert isinstance(run.log.wait_outcome().error, TurnCancelled)


def test_a_turn_ends_whatever_is_raised_while_it_is_stored() -> None:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        def pieces() -> Iterator[str]:
            yield "a"
            raise SystemExit(3)

        UserSession().append({"aside": Message(pieces())})
        return Message("ok")

    engine, store, _ = engine_of(script)
    run = engine.start(ask())
    run.log.wait(0, 10)
    assert run.log.outcome is not None
    assert isinstance(run.log.outcome.error, ComponentError)
    assert store.turns == []


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_turn_that_gets_no_thread_leaves_nothing_behind(
    asynchronous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def answers(message: Message[Any], stream: bool) -> Message[Any]:
        return Message("ok")

    if asynchronous:
        engine, _ = async_engine(answers, max_turns=1)
    else:
        engine, _, _ = engine_of(lambda message, stream: Message("ok"), max_turns=1)
    with monkeypatch.context() as patch:
        patch.setattr("appbuilder.engine.threads.batch_executor.spawn", no_thread)
        patch.setattr("appbuilder.engine.engine.portal", no_thread)
        with pytest.raises(Overloaded):
            engine.start(ask())
        if asynchronous:
            with pytest.raises(Overloaded):
                engine.execute(ask())
    assert engine.start(ask()).log.wait_outcome().error is None


def test_the_iterator_of_a_turn_that_a_shutdown_ended_is_closed_all_the_same() -> None:
    hang, hangs, closed = threading.Event(), threading.Event(), threading.Event()

    class Pieces:
        def __iter__(self) -> Pieces:
            return self

        def __next__(self) -> str:
            if hangs.is_set():
                return "late"
            hangs.set()
            hang.wait(60)
            return "part"

        def close(self) -> None:
            closed.set()

    engine, _, _ = engine_of(lambda message, stream: Message(Pieces()))
    engine.start(ask(stream=True))
    assert hangs.wait(10)
    engine.drain(0)
    assert not closed.is_set()
    hang.set()
    assert closed.wait(10)


def test_a_turn_that_is_stopped_says_so_whatever_failed_before() -> None:
    waits = threading.Event()
    attempts: list[int] = []

    def script(message: Message[Any], stream: bool) -> Message[Any]:
        def pieces() -> Iterator[str]:
            attempts.append(1)
            if len(attempts) == 1:
                raise RuntimeError("not yet")
            waits.set()
            token = get_context().cancel_token
            token.sleep(60)
            yield "late"

        return Message(pieces())

    engine, _, _ = engine_of(script)
    run = engine.start(ask(stream=True))
    assert waits.wait(10)
    engine.drain(0)
    assert isinstance(run.log.wait_outcome().error, Draining)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: iter(["smile \ud83d", "\ude00 end"]), "smile 😀 end"),
        (lambda: iter(["\ud83d"]), "\ufffd"),
        (lambda: iter([Message("a\ud83d"), Message("b")]), "a\ufffdb"),
        (lambda: "smile \ud83d\ude00 \ud83d", "smile 😀 \ufffd"),
    ],
)
def test_what_is_shown_of_halves_is_what_is_kept(answer: Callable[[], Any], said: str, stream: bool) -> None:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        return remember(message, Message(answer()))

    engine, store, _ = engine_of(script)
    keep = RetentionPolicy("t" * 36, "o", lambda _: {})
    run = engine.start(ask(stream=stream, keep=keep))
    outcome = run.log.wait_outcome()
    assert outcome.answer is not None
    if stream:
        assert text_from(run) == said
    (turn,) = store.turns
    assert turn.entry is not None
    kept = [value["content"] for key, value in turn.rows if key == "answer"]
    assert [outcome.answer["content"], turn.entry.value["answer"]["content"], *kept] == [said] * 3
