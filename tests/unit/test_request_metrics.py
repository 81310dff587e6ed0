"""Model calls that somebody watches: told at their beginning and once at their end, however that comes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.engines import ask, engine_of
from tests.unit.logs import steps_in

from appbuilder.core.context import get_context
from appbuilder.core.message import Message
from appbuilder.errors import ModelRejected, ModelTimeout, TurnCancelled
from appbuilder.events import Event, Step
from appbuilder.models.base import Delta, Model, ModelCall, ModelStream
from appbuilder.models.call_steps import StepRecorder
from appbuilder.models.call_watches import open_watched
from appbuilder.models.registry import call_model
from appbuilder.settings import Settings
from appbuilder.testing import Fault, FaultyModel, ScriptedModel, model_named

CALL = ModelCall("playground", {"query": "q"}, [{"role": "user", "content": "q"}])
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def open_observed(model: Model, name: str, call: ModelCall, on_step: Callable[[Event], None]) -> ModelStream:
    return open_watched(model, call, [StepRecorder(name, call, on_step)])


class Steps(list[Any]):
    """What was told."""

    @property
    def ends(self) -> list[Step]:
        return [step for step in self if step.ended]


def test_a_call_is_told_twice_under_one_id() -> None:
    told = Steps()
    stream = open_observed(ScriptedModel(["a", "b"], USAGE), "m", CALL, told.append)
    [begun] = told
    assert (begun.name, begun.detail, begun.ended) == ("m", {"prompt": CALL.messages, "answer": ""}, False)
    assert [delta.text for delta in stream if delta.text] == ["a", "b"]
    [ended] = told.ends
    assert len(told) == 2
    assert (ended.id, ended.started_at) == (begun.id, begun.started_at)
    assert (ended.detail["answer"], ended.usage, ended.error) == ("ab", USAGE, None)
    assert ended.milliseconds is not None


def test_what_it_passes_on_is_what_it_was_given() -> None:
    deltas = list(ScriptedModel(["a", "b"], USAGE).open(CALL))
    assert list(open_observed(ScriptedModel(["a", "b"], USAGE), "m", CALL, Steps().append)) == deltas


def test_each_call_has_an_id_of_its_own() -> None:
    told = Steps()
    model = ScriptedModel(["a"])
    one, two = open_observed(model, "m", CALL, told.append), open_observed(model, "m", CALL, told.append)
    list(two)
    list(one)
    assert len({step.id for step in told}) == 2
    assert [step.id for step in told.ends] == [told[1].id, told[0].id]


@pytest.mark.parametrize("after", [None, 0, 1])
def test_a_call_that_fails_says_how_and_no_more(after: int | None) -> None:
    told = Steps()
    model = FaultyModel(ScriptedModel(["a", "b"]), Fault(ModelRejected("the user's words"), after))
    with pytest.raises(ModelRejected):
        list(open_observed(model, "m", CALL, told.append))
    [ended] = told.ends
    assert (ended.error, ended.detail["answer"]) == ("ModelRejected", "a" * (after or 0))
    assert "words" not in str(ended)


def test_a_stream_that_is_closed_early_has_ended_and_is_closed() -> None:
    told, model = Steps(), ScriptedModel(["a", "b"])
    stream = open_observed(model, "m", CALL, told.append)
    next(stream)
    stream.close()
    stream.close()
    assert model.closes == 1
    [ended] = told.ends
    assert (ended.detail["answer"], ended.error) == ("a", None)


def test_an_end_is_told_once() -> None:
    told = Steps()
    stream = open_observed(ScriptedModel(["a"]), "m", CALL, told.append)
    list(stream)
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(stream)
    stream.close()
    assert len(told.ends) == 1


def test_a_stream_that_says_no_usage() -> None:
    class Silent(ScriptedModel):
        def open(self, call: ModelCall) -> Any:
            stream = super().open(call)
            return _Without(stream)

    class _Without:
        id = "server's"

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Delta:
            delta: Delta = next(self._inner)
            return Delta(delta.text)

        def close(self) -> None:
            self._inner.close()

    told = Steps()
    stream = open_observed(Silent(["a"]), "m", CALL, told.append)
    assert stream.id == "server's"
    list(stream)
    assert told.ends[0].usage == {}


# In a turn


def chatty(message: Message[Any], stream: bool) -> Message[Any]:
    def pieces() -> Any:
        opened = call_model("watched/m", CALL, Settings())
        try:
            for delta in opened:
                if delta.text:
                    yield delta.text
        finally:
            opened.close()

    return Message(pieces())


def test_calls_of_a_turn_stand_in_its_log_where_it_is_watched() -> None:
    engine, _, _ = engine_of(chatty)
    with model_named("watched", ScriptedModel(["a", "b"])):
        watched = engine.start(ask(stream=True, watch=True))
        watched.log.wait_outcome()
        unwatched = engine.start(ask(stream=True, session_id="t"))
        unwatched.log.wait_outcome()
    assert [step["ended"] for step in steps_in(watched.log)] == [False, True]
    assert steps_in(unwatched.log) == []


def test_retries_are_calls_of_their_own() -> None:
    engine, _, _ = engine_of(chatty)
    with model_named("watched", FaultyModel(ScriptedModel(["a"]), Fault(ModelTimeout("x"), 0))):
        run = engine.start(ask(stream=True, watch=True))
        assert run.log.wait_outcome().error is None
    ends = [step for step in steps_in(run.log) if step["ended"]]
    assert [step.get("error") for step in ends] == ["ModelTimeout", None]
    assert len({step["id"] for step in steps_in(run.log)}) == 2


def test_a_turn_that_is_stopped_ends_its_call() -> None:
    engine, _, _ = engine_of(chatty)
    silent = threading.Event()

    class Silence(Fault):
        def strike(self) -> None:
            silent.set()
            super().strike()

    fault = Silence(after=1, silence=threading.Event())
    with model_named("watched", FaultyModel(ScriptedModel(["a", "b"]), fault)):
        run = engine.start(ask(stream=True, watch=True))
        assert silent.wait(10)
        run.cancel(TurnCancelled("stop"))
        assert isinstance(run.log.wait_outcome().error, TurnCancelled)
    [ended] = [step for step in steps_in(run.log) if step["ended"]]
    assert (ended["detail"]["answer"], ended["error"]) == ("a", "TurnCancelled")


def test_outside_of_a_turn_nobody_is_told() -> None:
    assert get_context().on_step is None
    with model_named("watched", ScriptedModel(["a"])):
        assert [delta.text for delta in call_model("watched/m", CALL, Settings()) if delta.text] == ["a"]
