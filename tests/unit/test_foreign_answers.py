"""What a function returns or yields is read by its shape: chunks, completions, messages, parts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter
from tests.memory_store import MemoryStore
from tests.unit.engines import ask
from tests.unit.logs import pieces_in

from appbuilder.adapters.function import as_component
from appbuilder.core.component import as_answer
from appbuilder.core.message import AnswerMessage, Message, dump
from appbuilder.engine.engine import Engine
from appbuilder.errors import AnswerError, ModelUnavailable
from appbuilder.settings import Settings

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def chunk(delta: dict[str, Any], end: str | None = None, **members: Any) -> ChatCompletionChunk:
    choices = [{"index": 0, "delta": delta, "finish_reason": end}]
    head = {"id": "c", "created": 1, "model": "m", "object": "chat.completion.chunk", "choices": choices}
    return ChatCompletionChunk.model_validate({**head, **members})


def completion(message: dict[str, Any], end: str = "stop") -> ChatCompletion:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": end}
    return ChatCompletion.model_validate(
        {"id": "c", "created": 1, "model": "m", "object": "chat.completion", "choices": [choice],
         "usage": USAGE}
    )  # fmt: skip


CALL = {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
CALLS = [{"index": 0, **CALL}]


def response(*output: dict[str, Any], **members: Any) -> Response:
    return Response.model_validate(
        {"id": "r", "created_at": 1, "model": "m", "object": "response", "parallel_tool_calls": True,
         "tool_choice": "auto", "tools": [], "status": "completed", "output": list(output),
         "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7,
                   "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                   "output_tokens_details": {"reasoning_tokens": 0}}, **members}
    )  # fmt: skip


def spoken(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": list(parts)}


TEXT = {"type": "output_text", "text": "hello", "annotations": []}
FUNCTION_CALL = {"type": "function_call", "call_id": "1", "name": "look_up", "arguments": "{}"}
DELTA = {"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "content_index": 0,
         "logprobs": [], "sequence_number": 1}  # fmt: skip


def event(kind: str, **members: Any) -> Any:
    return _EVENT.validate_python({**DELTA, "type": kind, **members})


# LangChain is not installed where the suite runs; its messages are models of pydantic with these members.
class AIMessage(BaseModel):
    content: Any
    additional_kwargs: dict[str, Any] = {}
    response_metadata: dict[str, Any] = {}
    type: str = "ai"
    tool_calls: list[Any] = []
    usage_metadata: dict[str, int] | None = None


class AIMessageChunk(AIMessage):
    type: str = "AIMessageChunk"
    tool_call_chunks: list[Any] = []


class Generation(BaseModel):
    text: str
    generation_info: dict[str, Any] | None = None
    message: AIMessage | None = None


class LLMResult(BaseModel):
    generations: list[Any]
    llm_output: dict[str, Any] | None = None


TOKENS = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
WHOLE = {
    "completion": completion({"content": "hello"}),
    "refusal": completion({"content": None, "refusal": "hello"}),
    "legacy": Completion.model_validate(
        {"id": "c", "created": 1, "model": "m", "object": "text_completion", "usage": USAGE,
         "choices": [{"index": 0, "text": "hello", "finish_reason": "stop", "logprobs": None}]}
    ),
    "response": response({"type": "reasoning", "id": "t", "summary": []}, spoken(TEXT)),
    "response refused": response(spoken({"type": "refusal", "refusal": "hello"})),
    "langchain": AIMessage(content="hello", usage_metadata=TOKENS),
    "langchain parts": AIMessage(
        content=[{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "hel"}, "lo"],
        response_metadata={"token_usage": USAGE},
    ),
    "generations": LLMResult(generations=[[Generation(text="hello")]], llm_output={"token_usage": USAGE}),
    "chat result": LLMResult(
        generations=[Generation(text="", message=AIMessage(content="hello", usage_metadata=TOKENS))]
    ),
    "graph": {
        "messages": [
            AIMessage(content="q", type="human"), AIMessage(content="hello", usage_metadata=TOKENS)
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("as_dict", [False, True])
def test_a_whole_answer_is_its_text(kind: str, as_dict: bool) -> None:
    value = WHOLE[kind]
    if as_dict and isinstance(value, BaseModel):
        value = value.model_dump()
    for given in (value, Message(value)):
        answer = as_answer(given)
        assert dump(answer) == {
            "id": answer.id, "name": "msg", "mtype": "str", "content": "hello", "token_usage": USAGE
        }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        WHOLE["completion"].choices[0],  # type: ignore[attr-defined]
        WHOLE["completion"].choices[0].message,  # type: ignore[attr-defined]
        {"role": "assistant", "content": "hello"},
        {"role": "assistant", "content": [{"type": "text", "text": "hello"}]},
        {"type": "text", "text": "hello"},
        {"type": "output_text", "text": "hello", "annotations": []},
        [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}],
        ["hel", {"type": "text", "text": "lo"}],
        [SimpleNamespace(type="text", text="hello")],
        {"type": "ai", "data": {"content": "hello", "additional_kwargs": {}, "response_metadata": {}}},
        {"lc": 1, "type": "constructor", "id": ["langchain", "AIMessage"], "kwargs": {"content": "hello"}},
        SimpleNamespace(final_output="hello", new_items=[]),
        SimpleNamespace(output="hello", all_messages=list),
        SimpleNamespace(response="hello", source_nodes=[]),
        b"hello",
        bytearray(b"hello"),
        [SimpleNamespace(_role="assistant", _content=["hello"], text="hello", tool_calls=[])],
    ],
)
def test_messages_and_parts_are_their_text(value: Any) -> None:
    assert dump(as_answer(value))["content"] == "hello"


def test_a_whole_answer_is_well_formed() -> None:
    text = "a\ud83d\ude00\ud83d"
    for value in (text, Message(text), type("Words", (str,), {})(text)):
        assert as_answer(value).content == "a😀\ufffd"
    assert dump(as_answer(b"a\xff"))["content"] == "a\ufffd"


QUESTION = AIMessage(content="q", type="human")
STREAMS: dict[str, list[Any]] = {
    "chunks": [
        chunk({"role": "assistant", "content": ""}), chunk({"content": "hel"}), chunk({"content": None}),
        chunk({}, choices=[]), chunk({"content": "lo"}, "stop"), chunk({}, choices=[], usage=USAGE),
    ],
    "deltas": [chunk({"content": text}).choices[0].delta for text in ("hel", "lo")],
    "refusal": [chunk({"refusal": "hel"}), chunk({"refusal": "lo"}, "stop", usage=USAGE)],
    "events": [
        event("response.created", response=response(status="in_progress", usage=None)),
        event("response.output_text.delta", delta="hel"), event("response.output_text.delta", delta="lo"),
        event("response.output_text.done", text="hello"),
        event("response.completed", response=response(spoken(TEXT))),
    ],
    "langchain": [
        AIMessageChunk(content="hel", usage_metadata={**TOKENS, "output_tokens": 0, "total_tokens": 3}),
        AIMessageChunk(content=[{"type": "text", "text": "lo", "index": 0}]), AIMessageChunk(content=[]),
        AIMessageChunk(content="", usage_metadata={**TOKENS, "input_tokens": 0, "total_tokens": 4}),
    ],
    "graph": [
        (AIMessageChunk(content="", tool_call_chunks=[{"name": "look_up"}]), {"langgraph_node": "agent"}),
        (AIMessage(content="what the tool found", type="tool"), {"langgraph_node": "tools"}),
        (AIMessageChunk(content="hel"), {}), (AIMessageChunk(content="lo", usage_metadata=TOKENS), {}),
    ],
    "graph's updates": [
        {"agent": {"messages": [AIMessage(content="hel", tool_calls=[{"name": "look_up"}])]}},
        {"tools": {"messages": [AIMessage(content="what the tool found", type="tool")]}},
        {"agent": {"messages": [AIMessage(content="lo", usage_metadata=TOKENS)]}},
    ],
    "graph's values": [
        {"messages": [QUESTION]}, {"messages": [QUESTION, AIMessage(content="hel")]},
        {"messages": [QUESTION, AIMessage(content="lo", usage_metadata=TOKENS)]},
    ],
    "graph's events": [
        {"event": "on_chain_start", "run_id": "r", "data": {"input": "q"}},
        {"event": "on_chat_model_stream", "run_id": "r", "data": {"chunk": AIMessageChunk(content="hel")}},
        {"event": "on_chat_model_stream", "run_id": "r",
         "data": {"chunk": AIMessageChunk(content="lo", usage_metadata=TOKENS)}},
        {"event": "on_chain_end", "run_id": "r", "data": {"output": "hello"}},
    ],
    "anthropic": [
        {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hel"}},
        SimpleNamespace(type="text", text="hel", snapshot="hel"),
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ],
    "agents": [
        SimpleNamespace(type="agent_updated_stream_event", new_agent=object()),
        *(SimpleNamespace(type="raw_response_event", data=event("response.output_text.delta", delta=text))
          for text in ("hel", "lo")),
        SimpleNamespace(type="run_item_stream_event", item=object()),
        SimpleNamespace(type="raw_response_event", data=event("response.completed", response=response())),
    ],
    "mixed": ["hel", {"type": "text", "text": "lo"}],
}  # fmt: skip


def answered(function: Any, *, stream: bool) -> tuple[list[Any], dict[str, Any]]:
    engine = Engine(as_component(function), MemoryStore(), Settings(retry_backoff=0.0))
    log = engine.start(ask(stream=stream)).log
    outcome = log.wait_outcome()
    if outcome.error is not None:
        raise outcome.error
    assert outcome.answer is not None
    return pieces_in(log), dict(outcome.answer)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("kind", STREAMS)
def test_chunks_are_their_texts(kind: str, as_dict: bool, stream: bool) -> None:
    chunks = STREAMS[kind]
    if as_dict:
        chunks = [each.model_dump() if isinstance(each, BaseModel) else each for each in chunks]

    def pieces(message: str) -> Iterator[Any]:
        yield from chunks

    async def pieces_async(message: str) -> AsyncIterator[Any]:
        for each in chunks:
            yield each

    if as_dict and kind == "deltas":
        return  # a dict with a content alone is the program's own
    for function in (pieces, pieces_async):
        said, answer = answered(function, stream=stream)
        assert said == ["hel", "lo"]
        assert (answer["content"], answer["mtype"]) == ("hello", "str")
        assert answer.get("token_usage") == (None if kind in ("deltas", "mixed") else USAGE)


class Source:
    """An iterable to be closed, as AsyncStream and Stream of some libraries are."""

    def __init__(self) -> None:
        self.closed = False

    def __iter__(self) -> Iterator[Any]:
        yield from STREAMS["chunks"]

    def close(self) -> None:
        self.closed = True


class AsyncSource(Source):
    async def __aiter__(self) -> AsyncIterator[Any]:
        for each in STREAMS["chunks"]:
            yield each

    async def close(self) -> None:  # type: ignore[override]
        self.closed = True

    __iter__ = None  # type: ignore[assignment]


class AsyncIteratorSource(AsyncSource):
    """As the older AsyncStream of openai, which has no aclose."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks = iter(STREAMS["chunks"])

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        for each in self.chunks:
            return each
        raise StopAsyncIteration


@pytest.mark.parametrize("kind", [Source, AsyncSource, AsyncIteratorSource])
def test_a_stream_is_closed_with_its_answer(kind: Any) -> None:
    source = kind()
    said, answer = answered(lambda message: source, stream=True)
    assert (said, answer["content"], source.closed) == (["hel", "lo"], "hello", True)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (completion({"content": "hello"}, "length"), "length"),
        (completion({"content": "hello"}, "content_filter"), "content_filter"),
        (AIMessage(content="hello", response_metadata={"stop_reason": "max_tokens"}), "length"),
        (
            response(spoken(TEXT), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            "length",
        ),
        (iter([chunk({"content": "hello"}), chunk({}, "length")]), "length"),
    ],
)  # fmt: skip
def test_why_an_answer_is_not_whole_is_told(value: Any, reason: str) -> None:
    _, answer = answered(lambda message: value, stream=True)
    assert (answer["content"], answer["extra"]) == ("hello", {"finish_reason": reason})


@pytest.mark.parametrize(
    "value",
    [
        completion({"content": None, "tool_calls": [CALL]}, "tool_calls"),
        completion({"content": None, "function_call": {"name": "look_up", "arguments": ""}}, "function_call"),
        iter([chunk({"content": "one moment"}), chunk({"tool_calls": CALLS}), chunk({}, "tool_calls")]),
        response(FUNCTION_CALL),
        iter([event("response.completed", response=response(FUNCTION_CALL))]),
        AIMessage(content="", tool_calls=[{"name": "look_up", "args": {}}]),
        iter([AIMessageChunk(content="", tool_call_chunks=[{"name": "look_up", "args": ""}])]),
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
    ],
)
def test_calls_of_tools_that_nothing_ran_are_an_error(value: Any) -> None:
    with pytest.raises(AnswerError, match="look_up"):
        answered(lambda message: value, stream=False)


def test_calls_of_tools_that_the_function_ran_are_none() -> None:
    def agent(message: str) -> Iterator[Any]:
        yield chunk({"tool_calls": CALLS}, "tool_calls")
        yield chunk({"content": "found"}, "stop")

    assert answered(agent, stream=False)[1]["content"] == "found"


def test_a_response_that_failed_is_an_error() -> None:
    failed = event("response.failed", response=response(status="failed"))
    with pytest.raises(ModelUnavailable):
        answered(lambda message: iter([failed]), stream=False)


@dataclass
class City:
    name: str = "海淀"
    tags: list[str] = field(default_factory=lambda: ["a"])


class Place(BaseModel):
    role: str = "town"
    content: str = "x"
    score: int = 3


OWN = [
    {"type": "text", "text": "x", "score": 1},
    {"role": "assistant", "content": "x", "score": 1},
    {"choices": []},
    {"choices": [{"text": "a"}]},
    {"output": ["a"], "object": "city"},
    {"messages": [{"role": "user", "content": "x"}]},
    {"a": {"messages": ["x"]}},
    {"event": "begun", "data": {}, "run_id": "r"},
    {"type": "message_start"},
    {"content": "x"},
    [{"type": "image_url", "image_url": {"url": "x"}}],
    ["a", "b"],
    [],
    42,
    {"role": "tool", "content": [{"type": "code", "text": {"code": "x"}}]},
]


@pytest.mark.parametrize("value", OWN)
def test_json_of_the_programs_own_stays_json(value: Any) -> None:
    said, answer = answered(lambda message: value, stream=True)
    assert said == [value]
    assert answer["content"] == value


def test_models_and_dataclasses_are_json() -> None:
    for value, members in ((City(), {"name": "海淀", "tags": ["a"]}), (Place(), dict(Place()))):
        assert answered(lambda message, value=value: iter([value]), stream=True)[0] == [members]


class Opaque:
    def __repr__(self) -> str:
        return "<Opaque secret of a user at 0x7f00>"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Opaque(), "tests.unit.test_foreign_answers.Opaque"),
        ({"a": [Opaque()]}, "tests.unit.test_foreign_answers.Opaque"),
        (Message(Opaque()), "tests.unit.test_foreign_answers.Opaque"),
        (Message("x", about=Opaque()), "tests.unit.test_foreign_answers.Opaque"),
        (AnswerMessage("x", extra={"about": Opaque()}), "tests.unit.test_foreign_answers.Opaque"),
        (City, "tests.unit.test_foreign_answers.City"),
        (len, "builtin_function_or_method"),
        (ValueError("secret of a user"), "ValueError"),
        (range(3), "range"),
    ],
)
def test_what_is_no_answer_is_an_error_that_names_its_type(value: Any, name: str, stream: bool) -> None:
    calls = []

    def once(message: str) -> Any:
        calls.append(1)
        return value

    def pieces(message: str) -> Iterator[Any]:
        calls.append(1)
        yield value

    functions = [once] if isinstance(value, Message) else [once, pieces]
    for function in functions:
        calls.clear()
        with pytest.raises(AnswerError, match=name) as caught:
            answered(function, stream=stream)
        assert "secret" not in str(caught.value)
        assert len(calls) == 1, "it is not tried again"
