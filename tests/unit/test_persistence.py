"""What is kept of a turn for the catalogue: one row, in the turn's own transaction, with how it ended."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from tests.unit.engines import CountingStore, ask, async_engine, engine_of, remember
from tests.unit.logs import steps_in

from appbuilder.core.context import get_context
from appbuilder.core.message import AnswerMessage, Message
from appbuilder.core.store import TURN_KEY, TurnEntry, TurnRecord
from appbuilder.core.user_session import UserSession
from appbuilder.engine import persistence
from appbuilder.engine.engine import Engine, Run
from appbuilder.engine.fold import Folded
from appbuilder.engine.machine import Ending
from appbuilder.engine.persistence import RetentionPolicy
from appbuilder.errors import (
    AnswerTooLarge,
    AppBuilderError,
    ComponentError,
    Draining,
    Overloaded,
    RateLimited,
    StoreUnavailable,
    TurnCancelled,
    TurnTimeout,
)
from appbuilder.events import Event, Step
from appbuilder.ids import new_id
from appbuilder.jsontext import dumps
from appbuilder.models.base import Delta, ModelCall
from appbuilder.models.call_steps import LONGEST_STEP_TEXT, StepRecorder


def explain(error: AppBuilderError) -> dict[str, Any]:
    return {"kind": type(error).__name__, "text": "told"}


def kept(message: Any = "hi", **members: Any) -> Any:
    """A request of the page."""
    return ask(message=message, stream=True, keep=RetentionPolicy(new_id(), "local", explain), **members)


def entry_of(store: CountingStore) -> TurnEntry:
    """The one entry that was written."""
    assert len(store.turns) == 1
    entry = store.turns[0].entry
    assert entry is not None
    return entry


def keys(turn: TurnRecord) -> list[str]:
    return [key for key, _ in turn.rows]


def finished(engine: Engine, request: Any) -> Run:
    run = engine.start(request)
    run.log.wait_outcome()
    engine.drain(10)
    return run


def text(message: Message[Any], stream: bool) -> Message[Any]:
    return remember(message, Message(iter(["a", "b"])))


def test_a_whole_turn() -> None:
    engine, store, _ = engine_of(text)
    request = kept("what?\nmore")
    finished(engine, request)
    entry = entry_of(store)
    assert (entry.row_id, entry.owner, entry.title) == (request.keep.turn_id, "local", "what? more")
    assert entry.value["state"] == "complete"
    assert entry.value["input"]["content"] == "what?\nmore"
    assert entry.value["answer"]["content"] == "ab"
    assert entry.value.keys() == {"input", "answer", "state", "milliseconds"}
    assert type(entry.value["milliseconds"]) is int
    assert keys(store.turns[0]) == ["query", "answer"]


def test_a_turn_that_nobody_wants_kept_has_no_entry() -> None:
    engine, store, _ = engine_of(text)
    finished(engine, ask(stream=True))
    assert store.turns[0].entry is None


def test_nothing_is_kept_of_a_turn_that_is_to_be_forgotten() -> None:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        seen = [old.content for old in UserSession().get_history("query")]
        return remember(message, Message(",".join(seen)))

    engine, store, _ = engine_of(script)
    engine.execute(ask(message="before"))
    outcome = finished(engine, kept(forget=True)).log.wait_outcome()
    assert outcome.answer is not None
    assert outcome.answer["content"] == "before"
    assert len(store.turns) == 1


def test_a_turn_that_appends_nothing_is_kept_all_the_same() -> None:
    engine, store, _ = engine_of(lambda message, stream: Message("whole"))
    finished(engine, kept())
    assert store.turns[0].rows == []
    assert entry_of(store).value["answer"]["content"] == "whole"


def test_it_is_one_row_of_the_table() -> None:
    engine, store, _ = engine_of(text)
    request = kept()
    finished(engine, request)
    stored = store.repository().rows("s", 100)
    assert [row.key for row in stored] == ["query", "answer", TURN_KEY]
    assert (stored[-1].id, stored[-1].request_id) == (request.keep.turn_id, request.request_id)


def test_a_cut_turn() -> None:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        def pieces() -> Iterator[str]:
            yield "a"
            held = threading.Event()
            get_context().cancel_token.on_cancel(held.set)
            held.wait(10)
            get_context().cancel_token.raise_if_cancelled()
            yield "never"

        return remember(message, Message(pieces()))

    engine, store, _ = engine_of(script)
    run = engine.start(kept())
    run.log.wait(0, 10)
    run.cancel(TurnCancelled("stop"))
    run.log.wait_outcome()
    assert (entry_of(store).value["state"], entry_of(store).value["answer"]["content"]) == ("incomplete", "a")
    assert [members["state"] for _, members in store.turns[0].rows] == ["incomplete"] * 2


@pytest.mark.parametrize("after", [0, 1])
def test_a_failed_turn_keeps_what_was_shown_and_nothing_of_the_component(after: int) -> None:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        def pieces() -> Iterator[str]:
            yield from ["a"] * after
            raise ValueError("the inside")

        UserSession().append({"mine": Message("secret")})
        return remember(message, Message(pieces()))

    engine, store, _ = engine_of(script)
    run = finished(engine, kept())
    assert isinstance(run.log.outcome and run.log.outcome.error, ComponentError)
    entry = entry_of(store)
    assert store.turns[0].rows == []
    assert entry.value["state"] == "failed"
    assert entry.value["answer"]["content"] == "a" * after
    assert entry.value["error"] == {"kind": "ComponentError", "text": "told"}
    assert "inside" not in json.dumps(entry.value)
    assert [row.key for row in store.repository().rows("s", 100)] == [TURN_KEY]


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (TurnTimeout("late"), {"kind": "TurnTimeout", "text": "told"}),
        (AnswerTooLarge("large"), {"kind": "AnswerTooLarge", "text": "told"}),
        (RateLimited("much"), {"kind": "RateLimited", "text": "told"}),
        (Overloaded("full"), {"kind": "Overloaded", "text": "told"}),
        (TurnCancelled("stopped"), None),
        (Draining("stopped"), None),
    ],
)
def test_a_cut_turn_says_why_unless_it_was_stopped(reason: AppBuilderError, error: Any) -> None:
    note = {"response": {"model": "m"}}
    value = persistence.turn_entry(
        RetentionPolicy(new_id(), "local", explain, note=note),
        Ending.CUT,
        message="hi",
        answer=None,
        said=Folded("so far", (), {}),
        error=reason,
    ).value
    assert (value["state"], value.get("error")) == ("incomplete", error)
    assert value["response"] == note["response"]


def test_a_component_that_fails_at_once() -> None:
    def script(message: Message[Any], stream: bool) -> Any:
        UserSession().append({"mine": Message("secret")})
        raise ValueError("the inside")

    engine, store, component = engine_of(script)
    finished(engine, kept())
    assert component.calls == 1
    assert (entry_of(store).value["state"], store.turns[0].rows) == ("failed", [])


def test_a_turn_of_the_api_that_failed_stores_nothing() -> None:
    def script(message: Message[Any], stream: bool) -> Any:
        remember(message, message)
        raise ValueError

    engine, store, _ = engine_of(script)
    finished(engine, ask(stream=True))
    assert store.turns == []


def test_retries_are_one_turn() -> None:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        def pieces() -> Iterator[str]:
            if component.calls < 3:
                raise OSError("passes")
            yield "third"

        UserSession().append({f"attempt {component.calls}": message})
        return Message(pieces())

    engine, store, component = engine_of(script)
    finished(engine, kept())
    assert component.calls == 3
    assert keys(store.turns[0]) == ["attempt 3"]
    assert (entry_of(store).value["state"], entry_of(store).value["answer"]["content"]) == (
        "complete",
        "third",
    )
    assert "error" not in entry_of(store).value


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("message", ["said", {"text": ["said"]}, ["said"]])
def test_what_the_user_said_is_kept_as_he_said_it(message: Any, attempts: int) -> None:
    said = json.loads(json.dumps(message))

    def script(given: Message[Any], stream: bool) -> Message[Any]:
        if isinstance(given.content, dict):
            given.content["text"].append("changed")
        elif isinstance(given.content, list):
            given.content.append("changed")
        given.content = "another"
        given.name = "another"
        return Message("ok")

    engine, store, _ = engine_of(script, attempts=attempts)
    finished(engine, kept(message))
    assert entry_of(store).value["input"]["content"] == said
    assert entry_of(store).value["input"]["name"] == "msg"


def test_what_was_shown_is_kept_whatever_becomes_of_the_answer() -> None:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        answer: Message[Any] = Message(None)

        def pieces() -> Iterator[str]:
            yield "shown"
            answer.content = "something else"

        answer.content = pieces()
        return answer

    engine, store, _ = engine_of(script)
    finished(engine, kept())
    assert entry_of(store).value["answer"]["content"] == "shown"


PIECES: list[tuple[list[Any], Any, bool]] = [
    (["a", "b"], "ab", False),
    ([], "", False),
    ([""], "", False),
    ([None, "a"], "a", False),
    ([b"a", "b"], "ab", False),
    ([{"x": 1}], {"x": 1}, True),
    (["a", {"x": 1}], 'a{"x":1}', True),
    ([1, 2], "12", True),
    ([[1]], [1], True),
    ([Message("m"), "n"], "mn", False),
    (["\ud800"], None, False),
]


@pytest.mark.parametrize(("pieces", "content", "typed"), PIECES)
def test_pieces_of_any_kind(pieces: list[Any], content: Any, typed: bool) -> None:
    engine, store, _ = engine_of(lambda message, stream: Message(iter(pieces)))
    finished(engine, kept())
    value = json.loads(dumps(entry_of(store).value))
    if content is not None:
        assert value["answer"]["content"] == content
    assert ("events" in value) == typed
    assert [row.value for row in store.repository().rows("s", 100)] == [value], "what is kept can be stored"


def test_asynchronous_components() -> None:
    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        async def pieces() -> AsyncIterator[str]:
            yield "a"
            if message.content == "fail":
                raise ValueError("inside")
            yield "b"

        return remember(message, Message(pieces()))

    for words, state, content, rows in (("whole", "complete", "ab", 2), ("fail", "failed", "a", 0)):
        engine, store = async_engine(script)
        finished(engine, kept(words))
        entry = entry_of(store)
        assert (entry.value["state"], entry.value["answer"]["content"]) == (state, content)
        assert len(store.turns[0].rows) == rows


def test_an_asynchronous_turn_that_is_cut() -> None:
    async def script(message: Message[Any], stream: bool) -> Message[Any]:
        async def pieces() -> AsyncIterator[str]:
            yield "a"
            import asyncio

            await asyncio.Event().wait()

        return remember(message, Message(pieces()))

    engine, store = async_engine(script)
    run = engine.start(kept())
    run.log.wait(0, 10)
    run.cancel(TurnCancelled("stop"))
    run.log.wait_outcome()
    assert (entry_of(store).value["state"], entry_of(store).value["answer"]["content"]) == ("incomplete", "a")


def test_a_store_that_is_away_is_the_turn_s_error() -> None:
    engine, store, _ = engine_of(text)
    store.fail = True
    run = finished(engine, kept())
    assert isinstance(run.log.outcome and run.log.outcome.error, StoreUnavailable)
    assert store.turns == []


@pytest.mark.parametrize("explained", [KeyError("x"), None])
def test_an_error_that_cannot_be_kept_is_told_all_the_same(explained: Exception | None) -> None:
    def explanation(error: AppBuilderError) -> dict[str, Any]:
        if explained is not None:
            raise explained
        return {"object": object()}

    def script(message: Message[Any], stream: bool) -> Any:
        raise ValueError("first")

    engine, _, _ = engine_of(script)
    run = finished(engine, ask(stream=True, keep=RetentionPolicy(new_id(), "local", explanation)))
    outcome = run.log.outcome
    assert outcome is not None
    assert isinstance(outcome.error, ComponentError)
    assert str(outcome.error.__cause__) == "first"


def test_a_turn_that_waits_and_is_stopped_is_not_begun() -> None:
    gate = threading.Event()

    def script(message: Message[Any], stream: bool) -> Message[Any]:
        gate.wait(10)
        return Message("ok")

    engine, store, component = engine_of(script)
    first = engine.start(kept("first"))
    second = engine.start(kept("second"))
    second.cancel(TurnCancelled("stop"))
    second.log.wait_outcome()
    gate.set()
    first.log.wait_outcome()
    assert [turn.entry and turn.entry.title for turn in store.turns] == ["first"]
    assert component.calls == 1


def watching(tell: Callable[[Callable[[Any], None]], None]) -> Callable[..., Any]:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        on_step = get_context().on_step
        if on_step is not None:
            tell(on_step)
        return AnswerMessage("ok")

    return script


def step(number: int = 0, answer: str = "", **members: Any) -> Event:
    detail = {"prompt": [{"role": "user", "content": "q"}], "answer": answer}
    return Step(f"id{number}", "model", "model", detail=detail, **members)


def test_model_calls_are_kept_where_somebody_watches() -> None:
    def tell(on_step: Callable[[Any], None]) -> None:
        on_step(step(ended=False))
        on_step(step(ended=True, answer="a", usage={"total_tokens": 3}, milliseconds=7))

    engine, store, _ = engine_of(watching(tell))
    run = finished(engine, kept(watch=True))
    assert [each["ended"] for each in steps_in(run.log)] == [False, True]
    [event, length] = entry_of(store).value["events"]
    only = event["data"]
    assert (event["kind"], length) == ("step", 2)
    assert (only["id"], only["detail"]["answer"], only["usage"], only["milliseconds"]) == (
        "id0",
        "a",
        {"total_tokens": 3},
        7,
    )
    assert json.loads(dumps(only)) == only


def test_nobody_watches_unasked() -> None:
    def tell(on_step: Callable[[Any], None]) -> None:
        raise AssertionError("nobody watches")

    engine, store, _ = engine_of(watching(tell))
    finished(engine, kept())
    assert "events" not in entry_of(store).value


def test_long_texts_of_steps_are_cut_and_those_of_answers_are_not() -> None:
    long = "x" * (LONGEST_STEP_TEXT + 5)
    seen: list[Any] = []
    watch = StepRecorder("m", ModelCall("x", {}, [{"role": "user", "content": long}]), seen.append)
    watch.take(Delta(long))
    watch.end(None)
    detail = seen[-1].detail
    assert len(detail["answer"]) == len(detail["prompt"][0]["content"]) == LONGEST_STEP_TEXT
    engine, store, _ = engine_of(lambda message, stream: Message(iter([long, long])))
    finished(engine, kept(long))
    assert entry_of(store).value["answer"]["content"] == 2 * long
    assert entry_of(store).value["input"]["content"] == long
