"""A tool behind the debug page: how it is called, and what becomes of what it yields."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.unit.engines import CountingStore, ask
from tests.unit.logs import pieces_in

from appbuilder import Component, Message
from appbuilder.engine.engine import Engine
from appbuilder.errors import ComponentError, ConfigurationError
from appbuilder.runtime.tool_eval import ToolEval
from appbuilder.settings import Settings


class Tool(Component):
    """Remembers how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Any]] = []

    def tool_eval(self, query: str, stream: bool = False, **kwargs: Any) -> Iterator[Any]:
        self.calls.append({"query": query, "stream": stream, **kwargs})
        yield self.create_output(type="text", text="one")
        yield self.create_output(type="code", text="1 + 1")


def pieces_of(component: Any, query_name: str = "query", **arguments: Any) -> tuple[list[Any], Any]:
    """What is shown of a turn of the tool, and its outcome."""
    tool = ToolEval(component, query_name, arguments)
    run = Engine(tool, CountingStore(), Settings(retry_backoff=0.0)).start(ask(message="asked", stream=True))
    outcome = run.log.wait_outcome()
    return pieces_in(run.log), outcome


def test_it_gets_what_the_user_says_and_yields_what_is_shown() -> None:
    tool = Tool()
    pieces, outcome = pieces_of(tool)
    assert outcome.error is None
    assert tool.calls == [{"query": "asked", "stream": True}]
    assert [piece["content"][0]["type"] for piece in pieces] == ["text", "code"]


def test_its_further_arguments() -> None:
    tool = Tool()
    pieces_of(tool, stream=False, top=3)
    assert tool.calls == [{"query": "asked", "stream": False, "top": 3}]


@pytest.mark.parametrize("name", ["stream", "streaming"])
def test_tools_that_only_stream_when_told_to_are_told(name: str) -> None:
    seen: list[Any] = []
    body = f"def tool_eval({name}, question):\n    seen.append({name})\n    yield question\n"
    made: dict[str, Any] = {"seen": seen}
    exec(body, made)
    holder = type("Holder", (), {"tool_eval": staticmethod(made["tool_eval"])})()
    assert pieces_of(holder, "question")[0] == ["asked"]
    assert seen == [True]


def whole(query: str) -> str:
    return f"whole {query}"


def message(query: str) -> Message[Any]:
    return Message(iter([query, "!"]))


def outputs(query: str) -> list[Any]:
    return [query, "!"]


async def asynchronous(query: str) -> AsyncIterator[str]:
    yield query
    yield "!"


@pytest.mark.parametrize(
    ("tool_eval", "expected"),
    [
        (whole, ["whole asked"]),
        (message, ["asked", "!"]),
        (asynchronous, ["asked", "!"]),
        (outputs, ["asked", "!"]),
    ],
)
def test_what_a_tool_may_return(tool_eval: Any, expected: list[Any]) -> None:
    holder = type("Holder", (), {"tool_eval": staticmethod(tool_eval)})()
    pieces, outcome = pieces_of(holder)
    assert outcome.error is None
    assert pieces == expected


def test_a_tool_that_fails() -> None:
    def failing(query: str) -> Iterator[str]:
        yield "a"
        raise ValueError("inside")

    pieces, outcome = pieces_of(type("Holder", (), {"tool_eval": staticmethod(failing)})())
    assert pieces == ["a"]
    assert isinstance(outcome.error, ComponentError)


async def awaited(query: str) -> str:
    return query


def no_query(other: str) -> Iterator[str]:
    yield other


def needs_more(query: str, more: int) -> Iterator[str]:
    yield query


@pytest.mark.parametrize("tool_eval", [None, "text", awaited, no_query, needs_more])
def test_a_tool_that_cannot_be_called_so(tool_eval: Any) -> None:
    attribute = staticmethod(tool_eval) if callable(tool_eval) else tool_eval
    holder = type("Holder", (), {"tool_eval": attribute})()
    with pytest.raises(ConfigurationError, match="tool_eval"):
        ToolEval(holder, "query", {})
    with pytest.raises(ConfigurationError, match="no tool_eval"):
        ToolEval(object(), "query", {})


def test_an_argument_it_does_not_take() -> None:
    with pytest.raises(ConfigurationError, match="tool_eval_args"):
        ToolEval(type("Holder", (), {"tool_eval": staticmethod(whole)})(), "query", {"top": 3})
