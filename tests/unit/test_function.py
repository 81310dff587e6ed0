"""Serve anything that answers: each kind through the engine, streamed and whole."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from tests.memory_store import MemoryStore
from tests.unit.engines import ask
from tests.unit.logs import pieces_in

from appbuilder.adapters.function import as_component
from appbuilder.core.component import Component
from appbuilder.core.context import get_context
from appbuilder.core.message import AnswerMessage, Message
from appbuilder.engine.engine import Engine
from appbuilder.errors import ComponentError, ConfigurationError, InvalidRequest
from appbuilder.settings import Settings


def answered(thing: Any, *, name: str = "", **members: Any) -> tuple[list[Any], Any]:
    """The pieces and the answer's content of one turn of *thing*."""
    engine = Engine(as_component(thing, name), MemoryStore(), Settings(retry_backoff=0.0))
    log = engine.start(ask(**members)).log
    outcome = log.wait_outcome()
    if outcome.error is not None:
        raise outcome.error
    assert outcome.answer is not None
    return pieces_in(log), outcome.answer.get("content")


def whole(message: str) -> str:
    return f"you said {message}"


def pieces(message: str) -> Iterator[str]:
    yield "you said "
    yield message


async def whole_async(message: str) -> str:
    await asyncio.sleep(0)
    return f"you said {message}"


async def pieces_async(message: str) -> AsyncIterator[str]:
    yield "you said "
    await asyncio.sleep(0)
    yield message


def returned(message: str) -> Iterator[str]:
    return iter(["you said ", message])


async def returned_async(message: str) -> AsyncIterator[str]:
    return pieces_async(message)


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Called:
    def __call__(self, message: str) -> str:
        return whole(message)


class CalledAsync:
    async def __call__(self, message: str) -> str:
        return await whole_async(message)


class Methods:
    def answer(self, message: str) -> str:
        return whole(message)

    @staticmethod
    def static(message: str) -> Iterator[str]:
        return pieces(message)

    async def answer_async(self, message: str) -> str:
        return await whole_async(message)


class Runs:
    def run(self, text: str) -> str:
        return whole(text)


class RunsAsMessage:
    def run(self, message: Message[str]) -> str:
        return whole(message.content)


class RunsAsContract:
    def run(self, message: Message[str], stream: bool, **args: Any) -> Message[str]:
        assert isinstance(stream, bool)
        return Message(whole(message.content))


class RunsAsync:
    async def arun(self, message: str) -> AsyncIterator[str]:
        return pieces_async(message)


class AComponent(Component):
    def run(self, message: Message[str], stream: bool = False) -> Message[str]:
        return Message(whole(message.content))


def with_first(prefix: str, message: str) -> str:
    return f"{prefix} said {message}"


def by_keyword(*, message: str) -> str:
    return whole(message)


KINDS = {
    "function": (whole, 1),
    "generator": (pieces, 2),
    "async function": (whole_async, 1),
    "async generator": (pieces_async, 2),
    "function that returns an iterator": (returned, 2),
    "async function that returns a generator": (returned_async, 2),
    "lambda": (lambda m: f"you said {m}", 1),
    "partial": (functools.partial(with_first, "you"), 1),
    "partial of an async generator": (functools.partial(pieces_async), 2),
    "decorated": (decorated(pieces), 2),
    "decorated async": (decorated(whole_async), 1),
    "decorated async generator": (decorated(decorated(pieces_async)), 2),
    "callable object": (Called(), 1),
    "callable class": (Called, 1),
    "async callable object": (CalledAsync(), 1),
    "bound method": (Methods().answer, 1),
    "static method": (Methods.static, 2),
    "async method": (Methods().answer_async, 1),
    "object with run": (Runs(), 1),
    "class with run": (Runs, 1),
    "object with run of a Message": (RunsAsMessage(), 1),
    "object with the contract's run": (RunsAsContract(), 1),
    "class with arun": (RunsAsync, 2),
    "component": (AComponent(), 1),
    "class of components": (AComponent, 1),
    "keyword only": (by_keyword, 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_anything_that_answers_streams_and_comes_whole(kind: str) -> None:
    thing, count = KINDS[kind]
    streamed, content = answered(thing, message="你好", stream=True)
    assert ("".join(streamed), len(streamed), content) == ("you said 你好", count, "you said 你好")
    assert answered(thing, message="你好")[1] == "you said 你好"


@pytest.mark.parametrize("thing", [pieces, pieces_async])
def test_called_by_hand_an_answer_is_whole_unless_a_stream_is_asked_for(thing: Any) -> None:
    component = as_component(thing)

    async def call(stream: bool) -> Any:
        answer = await component.arun(Message("a"), stream=stream)
        return [piece async for piece in answer.content] if stream else answer.content

    if thing is pieces:
        assert component.run(Message("a")).content == "you said a"
        assert list(component(Message("a"), stream=True).content) == ["you said ", "a"]
        assert component.run("a").content == "you said a"
    else:
        assert asyncio.run(call(False)) == "you said a"
        assert asyncio.run(call(True)) == ["you said ", "a"]


def test_a_whole_answer_of_a_generator_can_be_stopped_between_its_pieces() -> None:
    said: list[int] = []

    def endless(message: str) -> Iterator[str]:
        while True:
            said.append(len(said))
            if len(said) == 3:
                get_context().cancel_token.cancel()
            yield "x"

    with pytest.raises(Exception, match="stopped"):
        answered(endless)
    assert len(said) == 3


def test_the_content_comes_as_it_is_and_where_asked_for_the_message() -> None:
    def of_anything(content):  # type: ignore[no-untyped-def]
        return f"{type(content).__name__}"

    def of_message(message: Message[Any]) -> str:
        return f"{type(message).__name__} {message.content}"

    def of_maybe(message: Message[str] | None) -> str:
        return type(message).__name__

    assert answered(of_anything, message={"a": 1})[1] == "dict"
    assert answered(of_message, message={"a": 1})[1] == "Message {'a': 1}"
    assert answered(of_maybe, message="a")[1] == "Message"
    of_message.__annotations__["message"] = Message[str]
    assert answered(of_message, message="a")[1] == "Message a"
    of_message.__annotations__["message"] = "appbuilder.Message"
    assert answered(of_message, message="a")[1] == "Message a"


@pytest.mark.parametrize("annotation", [str, "str"])
def test_what_is_no_text_is_refused_where_a_text_is_asked_for(annotation: Any) -> None:
    def only_texts(message: Any) -> str:
        raise AssertionError("it must not be called")

    only_texts.__annotations__["message"] = annotation
    with pytest.raises(InvalidRequest, match="The member 'message' must be a text"):
        answered(only_texts, message={"a": 1})


def test_other_parameters_are_members_of_the_request() -> None:
    def answer(message: str, city: str, *more: Any, days: int = 3, stream: bool = False) -> str:
        return f"{message} {city} {days} {stream}"

    assert answered(answer, args={"city": "Rome"})[1] == "hi Rome 3 False"
    assert answered(answer, args={"city": "Rome", "days": 1}, stream=True)[1] == "hi Rome 1 True"
    with pytest.raises(InvalidRequest, match="needs a member 'city'"):
        answered(answer)
    for unknown in ("town", "stream", "message", "self", "more", "args"):
        with pytest.raises(InvalidRequest, match=f"takes no member '{unknown}'"):
            answered(answer, args={"city": "Rome", unknown: 1})


@pytest.mark.parametrize(
    ("name", "good", "bad", "sentence"),
    [
        ("times", 3, "3", "The member 'times' must be a whole number."),
        ("times", 0, True, "The member 'times' must be a whole number."),
        ("share", 1, "1", "The member 'share' must be a number."),
        ("share", 0.5, None, "The member 'share' must be a number."),
        ("loud", False, 0, "The member 'loud' must be true or false."),
        ("city", "", ["Rome"], "The member 'city' must be a text."),
    ],
)
def test_members_are_of_the_type_they_are_annotated_with(
    name: str, good: Any, bad: Any, sentence: str
) -> None:
    def answer(message: str, times: int = 1, share: float = 1, loud: bool = True, city: str = "") -> Any:
        return {"times": times, "share": share, "loud": loud, "city": city}[name]

    as_text = as_component(answer)
    answer.__annotations__ |= {"times": int, "share": float, "loud": bool, "city": str}
    for function in (as_text, answer):
        assert answered(function, args={name: good})[1] == good
        with pytest.raises(InvalidRequest) as caught:
            answered(function, args={name: bad})
        assert str(caught.value) == sentence


def test_members_of_other_types_are_the_functions_to_see() -> None:
    def answer(message: str, a: int | None = 1, b: int = None, c: Any = 1, d=1, **e: int) -> Any:  # type: ignore[assignment, no-untyped-def]  # noqa: RUF013
        return [a, b, c, d, e]

    given = {"a": "1", "b": None, "c": "1", "d": "1", "x": "1"}
    assert answered(answer, args=given)[1] == ["1", None, "1", "1", {"x": "1"}]


def test_a_function_may_take_any_member() -> None:
    def answer(message: str, **others: Any) -> str:
        return f"{message} {others}"

    assert answered(answer, args={"a": 1})[1] == "hi {'a': 1}"
    assert answered(lambda m, **session_id: f"{m} {session_id}", args={"a": 1})[1] == "hi {'a': 1}"


def test_what_a_partial_has_bound_no_request_may_change() -> None:
    def answer(message: str, key: str = "", **others: Any) -> str:
        return f"{message} {key}"

    bound = functools.partial(functools.partial(answer, key="mine"))
    assert answered(bound)[1] == "hi mine"
    with pytest.raises(InvalidRequest, match="takes no member 'key'"):
        answered(bound, args={"key": "yours"})


def test_messages_and_other_contents_are_answers() -> None:
    assert answered(lambda m: {"a": m})[1] == {"a": "hi"}
    assert answered(lambda m: AnswerMessage("x", token_usage={"total_tokens": 1}))[1] == "x"
    with pytest.raises(ComponentError, match="returned nothing"):
        answered(lambda m: None)


def test_what_it_is_called() -> None:
    assert as_component(whole).meta.name == "whole"
    assert as_component(functools.partial(with_first, "a")).name == "with_first"
    assert as_component(lambda m: m, "agent").name == "agent"
    assert as_component(lambda m: m).name == "answer"
    assert as_component(Called()).name == "Called"
    assert as_component(Runs).name == "Runs"


def no_parameters() -> str:
    return ""


class NeedsArguments(Component):
    def __init__(self, key: str) -> None:
        super().__init__()


class NoRun:
    pass


class RunsWithId:
    def run(self, message: str, session_id: str) -> str:
        return message


class Silent:
    __signature__ = "as of a function written in C"

    def __call__(self, message: str) -> str:
        return message


@pytest.mark.parametrize(
    ("thing", "sentence"),
    [
        (no_parameters, "no_parameters takes no message: write def answer(message: str) -> str"),
        (lambda **others: "", "answer takes no message"),
        (functools.partial(whole, message="x"), "whole takes no message"),
        (lambda m, message: "", "answer: no request can fill the parameter 'message'"),
        (eval("lambda m, x, /: ''"), "answer: no request can fill the parameter 'x': give it no place"),
        (lambda m, session_id: "", "answer: no request can fill the parameter 'session_id': the session's"),
        (lambda m, session_id="": "", "answer: no request can fill the parameter 'session_id'"),
        (RunsWithId, "RunsWithId: no request can fill the parameter 'session_id'"),
        ("text", "A text cannot answer a message: give the function"),
        (NoRun, "NoRun (NoRun) cannot answer a message"),
        (NeedsArguments, "The class NeedsArguments cannot be made without arguments: make one, as agent ="),
        (Silent(), "Silent does not tell what it takes"),
    ],
)
def test_what_cannot_answer_is_told_what_to_write(thing: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        as_component(thing)
    assert str(caught.value).startswith(sentence)


def test_what_a_constructor_raises_is_passed_on() -> None:
    class Broken(Component):
        def __init__(self) -> None:
            raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        as_component(Broken)
