"""Turns through the engine, on the memory store: one path for streaming and blocking, sync and async."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, cast
from unittest import mock

import pytest
from tests.unit.engines import CountingStore, ask, engine_of, remember, text_from
from tests.unit.logs import pieces_in

from appbuilder.core.context import get_context
from appbuilder.core.message import Message
from appbuilder.core.user_session import UserSession
from appbuilder.engine import turn_spans
from appbuilder.engine.engine import Engine
from appbuilder.errors import (
    ComponentError,
    ConfigurationError,
    Draining,
    InvalidRequest,
    Overloaded,
    SessionBusy,
    StoreUnavailable,
    TurnCancelled,
)
from appbuilder.settings import Settings


def test_streamed_and_whole_are_stored_alike() -> None:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        return remember(message, Message(iter(["a", "b"]) if stream else "ab"))

    engine, store, _ = engine_of(script)
    whole = engine.execute(ask())
    streamed = engine.start(ask(stream=True))
    assert text_from(streamed) == "ab"
    contents = [[row["content"] for _, row in turn.rows] for turn in store.turns]
    assert contents == [["hi", "ab"], ["hi", "ab"]]
    assert whole.log.outcome is not None
    assert whole.log.outcome.answer is not None
    assert whole.log.outcome.answer["content"] == "ab"
    assert [m["content"] for m in store.history("s", "answer", 10)] == ["ab", "ab"]


def test_a_blocking_call_folds_what_a_component_streams() -> None:
    engine, _, _ = engine_of(lambda message, stream: Message(iter(["a", None, b"b", 1])))
    outcome = engine.execute(ask()).log.wait_outcome()
    assert outcome.answer is not None
    assert outcome.answer["content"] == "ab1"


def test_what_is_not_a_message_becomes_one_and_nothing_is_an_error() -> None:
    engine, _, _ = engine_of(lambda message, stream: "plain")
    outcome = engine.execute(ask()).log.wait_outcome()
    assert outcome.answer is not None
    assert outcome.answer["content"] == "plain"
    engine, _, _ = engine_of(lambda message, stream: None)
    assert isinstance(engine.execute(ask()).log.wait_outcome().error, ComponentError)


def test_an_answer_that_came_whole_is_one_piece_of_a_stream() -> None:
    engine, _, _ = engine_of(lambda message, stream: Message({"a": 1}))
    run = engine.start(ask(stream=True))
    run.log.wait_outcome()
    assert pieces_in(run.log) == [{"a": 1}]


def test_a_run_goes_on_without_readers_and_later_readers_get_the_rest() -> None:
    """The proof of design: drop the reader before the first piece, attach one at 0 and one at k."""
    may_begin = threading.Event()

    def script(message: Message[Any], stream: bool) -> Message[Any]:
        def pieces() -> Iterator[str]:
            assert may_begin.wait(10)
            yield from "abcdef"

        return remember(message, Message(pieces()))

    engine, store, component = engine_of(script)
    run = engine.start(ask(stream=True), on_disconnect="continue")
    run.attach()
    run.detach()
    may_begin.set()
    results: dict[int, str] = {}

    def read(cursor: int) -> None:
        results[cursor] = text_from(run, cursor)

    readers = [threading.Thread(target=read, args=(cursor,)) for cursor in (0, 4)]
    for reader in readers:
        run.attach()
        reader.start()
    for reader in readers:
        reader.join()
        run.detach()
    assert results == {0: "abcdef", 4: "ef"}
    assert len(store.turns) == component.calls == 1


def test_the_reader_that_leaves_cuts_the_run_and_what_was_made_is_kept_and_marked() -> None:
    """The SDK stores nothing of such a turn."""
    closed: list[threading.Thread] = []
    in_second = threading.Event()

    def script(message: Message[Any], stream: bool) -> Message[Any]:
        def pieces() -> Iterator[str]:
            try:
                yield "first"
                yield "second"
                in_second.set()
                get_context().cancel_token.on_cancel(cancelled.set)
                assert cancelled.wait(10)
                yield "third"
                raise AssertionError("stepped after the cut")
            finally:
                closed.append(threading.current_thread())

        return remember(message, Message(pieces()))

    cancelled = threading.Event()
    engine, store, _ = engine_of(script)
    run = engine.start(ask(stream=True))
    run.attach()
    assert in_second.wait(10)
    run.detach()
    outcome = run.log.wait_outcome()
    assert isinstance(outcome.error, TurnCancelled)
    assert len(closed) == 1, "closed exactly once"
    assert closed[0] is not threading.current_thread(), "closed where it was stepped"
    states = [(key, row["content"], row["state"]) for key, row in store.turns[0].rows]
    assert states == [("query", "hi", "incomplete"), ("answer", "firstsecondthird", "incomplete")]
    assert store.history("s", "query", 10) == [], "history shows finished turns"


def test_with_two_readers_the_run_is_cut_by_the_last() -> None:
    step = threading.Semaphore(0)

    def script(message: Message[Any], stream: bool) -> Message[Any]:
        return Message(str(n) for n in range(3) if step.acquire(timeout=10))

    engine, _, _ = engine_of(script)
    run = engine.start(ask(stream=True))
    run.attach()
    run.attach()
    run.detach()
    step.release(3)
    assert text_from(run) == "012"


def test_an_error_before_the_first_piece_is_tried_again_and_its_rows_are_dropped() -> None:
    """The SDK's retry dies on a KeyError here."""
    attempts: list[int] = []

    def script(message: Message[Any], stream: bool) -> Message[Any]:
        attempts.append(1)

        def pieces() -> Iterator[str]:
            if len(attempts) < 3:
                raise RuntimeError("not yet")
            yield "at last"

        cast(Any, message.content)["changed"] = True  # the next attempt does not see it
        return remember(message, Message(pieces()))

    engine, store, _ = engine_of(script)
    run = engine.start(ask(stream=True, message={"query": "hi"}))
    assert text_from(run) == "at last"
    assert len(attempts) == 3
    assert [key for key, _ in store.turns[0].rows] == ["query", "answer"]


@pytest.mark.parametrize(
    ("error", "calls"),
    [(RuntimeError("x"), 3), (ValueError("x"), 1), (InvalidRequest("x"), 1), (TurnCancelled("x"), 1),
     (SystemExit(3), 1), (RecursionError(), 3)],
)
def test_which_errors_of_iterating_are_tried_again(error: BaseException, calls: int) -> None:
    def failing() -> Iterator[str]:
        raise error
        yield

    engine, store, component = engine_of(lambda message, stream: remember(message, Message(failing())))
    run = engine.start(ask(stream=True))
    assert run.log.wait_outcome().error is not None
    assert component.calls == calls
    assert store.turns == [], "a failed turn stores nothing"


@pytest.mark.parametrize("error", [RuntimeError("x"), SystemExit(3), KeyError("x"), StopIteration()])
def test_an_error_of_run_itself_is_not_tried_again(error: BaseException) -> None:
    def script(message: Message[Any], stream: bool) -> Any:
        raise error

    engine, _, component = engine_of(script)
    outcome = engine.execute(ask()).log.wait_outcome()
    assert isinstance(outcome.error, ComponentError)
    assert outcome.error.__cause__ is error
    assert component.calls == 1


def test_an_error_after_a_piece_ends_the_stream_and_stores_nothing() -> None:
    def pieces() -> Iterator[str]:
        yield "a"
        raise RuntimeError("broken")

    engine, store, component = engine_of(lambda message, stream: remember(message, Message(pieces())))
    run = engine.start(ask(stream=True))
    assert text_from(run) == "a"
    assert isinstance(run.log.wait_outcome().error, ComponentError)
    assert (component.calls, store.turns) == (1, [])


def test_the_answer_is_acknowledged_after_the_commit() -> None:
    engine, store, _ = engine_of(lambda message, stream: remember(message, Message("a")))
    store.fail = True
    outcome = engine.execute(ask()).log.wait_outcome()
    assert outcome.answer is None
    assert isinstance(outcome.error, StoreUnavailable)


def test_a_stream_that_was_appended_but_not_sent_is_stored_whole() -> None:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        UserSession().append({"aside": Message(iter(["x", "y"]))})
        return Message("a")

    engine, store, _ = engine_of(script)
    engine.execute(ask())
    assert store.turns[0].rows[0][1]["content"] == "xy"


def test_what_a_component_appends_at_the_end_of_its_stream_belongs_to_the_turn() -> None:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        def pieces() -> Iterator[str]:
            yield "a"
            UserSession().append({"query": message})

        return Message(pieces())

    engine, store, _ = engine_of(script)
    engine.start(ask(stream=True)).log.wait_outcome()
    assert [key for key, _ in store.turns[0].rows] == ["query"]


def test_one_turn_at_a_time_in_a_session_and_each_sees_those_before_it() -> None:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        seen = len(UserSession().get_history("query", limit=1000))
        return remember(message, Message(iter([str(seen)]) if stream else str(seen)))

    engine, store, _ = engine_of(script, session_queue=100)
    runs = [engine.start(ask(stream=True)) for _ in range(40)]
    assert [text_from(run) for run in runs] == [str(n) for n in range(40)]
    assert len(store.turns) == 40


def test_a_session_can_be_set_to_reject_instead() -> None:
    may_end = threading.Event()

    def script(message: Message[Any], stream: bool) -> Message[Any]:
        return Message(str(may_end.wait(10)) for _ in range(1))

    engine, _, _ = engine_of(script, session_busy="reject", max_turns=2)
    run = engine.start(ask(stream=True))
    with pytest.raises(SessionBusy):
        engine.execute(ask())
    other = engine.start(ask(stream=True, session_id="other"))
    with pytest.raises(Overloaded):
        engine.start(ask(session_id="third"))
    may_end.set()
    assert [text_from(run), text_from(other)] == ["True", "True"]
    engine.execute(ask())


def test_a_turn_that_waits_too_long_for_its_session_is_refused() -> None:
    may_end = threading.Event()
    engine, _, component = engine_of(
        lambda message, stream: Message(str(may_end.wait(10)) for _ in range(1)), session_wait=0.01
    )
    run = engine.start(ask(stream=True))
    assert isinstance(engine.execute(ask()).log.wait_outcome().error, SessionBusy)
    may_end.set()
    run.log.wait_outcome()
    assert component.calls == 1


def test_a_waiting_turn_whose_reader_leaves_never_runs() -> None:
    may_end = threading.Event()
    engine, _, component = engine_of(lambda message, stream: Message(str(may_end.wait(10)) for _ in "1"))
    first, second = engine.start(ask(stream=True)), engine.start(ask(stream=True))
    second.attach()
    second.detach()
    assert isinstance(second.log.wait_outcome().error, TurnCancelled)
    may_end.set()
    first.log.wait_outcome()
    assert component.calls == 1


def test_arguments_the_component_takes_and_no_others() -> None:
    def script(message: Message[Any], stream: bool, colour: str = "red") -> Message[Any]:
        return Message(colour)

    class Strict:
        def run(self, message: Message[Any], stream: bool, *, colour: str = "red") -> Message[Any]:
            return script(message, stream, colour)

    engine = Engine(Strict(), CountingStore(), Settings())
    outcome = engine.execute(ask(args={"colour": "blue"})).log.wait_outcome()
    assert outcome.answer is not None
    assert outcome.answer["content"] == "blue"
    for name in ("self", "size", "message", "stream"):
        with pytest.raises(InvalidRequest, match=name):
            engine.execute(ask(args={name: 1}))
    engine, _, _ = engine_of(lambda message, stream, **args: Message(sorted(args)))
    with pytest.raises(InvalidRequest, match="self"):
        engine.execute(ask(args={"self": 1}))


def test_a_component_that_cannot_be_called_fails_at_once() -> None:
    class Odd:
        def run(self, question: str) -> str:
            return question

    with pytest.raises(ConfigurationError, match="run\\(message, stream"):
        Engine(Odd(), CountingStore(), Settings())


def test_nothing_of_a_turn_leaks_into_another_or_into_the_thread() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="clean")

    def script(message: Message[Any], stream: bool) -> Message[Any]:
        def pieces() -> Iterator[str]:
            for n in range(3):
                before = variable.get()
                variable.set(f"{message.content}-{n}")
                yield before

        assert variable.get() == "clean"
        return Message(pieces())

    engine, _, _ = engine_of(script)
    assert text_from(engine.execute(ask(message="x", stream=True))) == "cleanx-0x-1"
    assert variable.get() == "clean"
    runs = [engine.start(ask(message=f"m{n}", session_id=f"s{n}", stream=True)) for n in range(20)]
    assert [text_from(run) for run in runs] == [f"cleanm{n}-0m{n}-1" for n in range(20)]


def test_a_drain_lets_turns_finish_and_takes_no_new_ones() -> None:
    may_end = threading.Event()
    engine, _, _ = engine_of(lambda message, stream: Message(str(may_end.wait(10)) for _ in "1"))
    run = engine.start(ask(stream=True))
    draining = threading.Thread(target=engine.drain, args=(10,))
    draining.start()
    while not engine.draining:
        pass
    with pytest.raises(Draining):
        engine.execute(ask(session_id="late"))
    may_end.set()
    draining.join()
    assert text_from(run) == "True"


def test_a_drain_marks_what_does_not_finish_even_where_the_component_hangs() -> None:
    hang, hangs = threading.Event(), threading.Event()

    def script(message: Message[Any], stream: bool) -> Message[Any]:
        def pieces() -> Iterator[str]:
            yield "part"
            hangs.set()
            hang.wait(60)

        return remember(message, Message(pieces()))

    engine, store, _ = engine_of(script)
    run = engine.start(ask(stream=True))
    assert hangs.wait(10)
    engine.drain(0)
    assert isinstance(run.log.wait_outcome().error, Draining)
    assert [(row["content"], row["state"]) for _, row in store.turns[0].rows] == [
        ("hi", "incomplete"), ("part", "incomplete")]
    hang.set()


def test_a_turn_that_cannot_be_made_leaves_nothing_behind() -> None:
    engine, _, _ = engine_of(lambda message, stream: Message("a"), max_turns=1, session_busy="reject")
    with mock.patch.object(turn_spans, "begin", side_effect=MemoryError), pytest.raises(MemoryError):
        engine.execute(ask())
    uncopied = engine.execute(ask(message={"no copy of": threading.Lock()})).log.wait_outcome()
    assert isinstance(uncopied.error, ComponentError)
    assert engine.execute(ask()).log.wait_outcome().answer is not None
