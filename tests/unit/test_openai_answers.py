"""What we answer, as the openai package reads it: each object strictly, each stream through its parser."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response as OpenAIResponse
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter
from tests.unit.logs import batch_of

from appbuilder import jsontext
from appbuilder.errors import ComponentError, RateLimited
from appbuilder.protocols import sse
from appbuilder.protocols.errors import to_problem
from appbuilder.protocols.openai import model_list
from appbuilder.protocols.openai.chat_completions import ChunkEncoder, CompletionHead, completion
from appbuilder.protocols.openai.finish_reasons import finish_reason
from appbuilder.protocols.openai.response_events import ResponseEncoder
from appbuilder.protocols.openai.response_objects import ECHOED, Response, answered, failed, stopped
from appbuilder.protocols.openai.usage import Usage, usage_of

HEAD = CompletionHead("chatcmpl-1", 1_700_000_000, "m")
RESPONSE = Response(
    "resp_1", 1_700_000_000, "m", "s", True, {"instructions": "Be brief.", "metadata": {"a": "b"}}
)
USAGE = Usage(3, 4, 7)
TOKENS = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
REQUIRED = {
    "id", "object", "created_at", "completed_at", "status", "incomplete_details", "model",
    "previous_response_id", "instructions", "output", "error", "tools", "tool_choice", "truncation",
    "parallel_tool_calls", "text", "top_p", "presence_penalty", "frequency_penalty", "top_logprobs",
    "temperature", "reasoning", "user", "usage", "max_output_tokens", "max_tool_calls", "store",
    "background", "service_tier", "metadata", "safety_identifier", "prompt_cache_key",
}  # fmt: skip
"""Members that ResponseResource requires: Open Responses 2026-04-24, public/openapi/openapi.json."""
NOT_NULL = REQUIRED - {
    "completed_at", "incomplete_details", "previous_response_id", "instructions", "error", "reasoning",
    "user", "usage", "max_output_tokens", "max_tool_calls", "safety_identifier", "prompt_cache_key",
}  # fmt: skip
"""Those of them that must not be null."""
ODD = [
    "\n\ndata: {}\n\n",
    "\r",
    "\u2028\u2029\x85",
    "\x00",
    "\ufffd",
    "data: [DONE]",
    "🎉",
    "",
    "x" * 200_000,
]

_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_UNTYPED = {"store", "presence_penalty", "frequency_penalty"}
"""Members the API tells and the package's types leave out."""


def strict(kind: type[BaseModel], data: str | bytes) -> Any:
    """*data* as the package's own type, every member of the type it must have and none unknown."""
    return known(kind.model_validate_json(data, strict=True))


def known(value: Any) -> Any:
    if isinstance(value, BaseModel):
        assert set(value.model_extra or ()) <= _UNTYPED, (type(value), value.model_extra)
        for each in dict(value).values():
            known(each)
    if isinstance(value, list):
        for each in value:
            known(each)
    return value


def data_of(stream: bytes) -> Iterator[str]:
    """The data of each event, for clients that split at every line end Unicode knows."""
    for block in stream.decode().removesuffix("\n\n").split("\n\n"):
        lines = block.splitlines()
        assert lines == block.split("\n")
        assert all(line.startswith(("data: ", "event: ", ":")) for line in lines)
        yield from (line[6:] for line in lines if line.startswith("data: "))


def client(stream: bytes) -> openai.OpenAI:
    """The openai package, which gets *stream* for an answer, some bytes at a time."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        parts = (stream[at : at + 997] for at in range(0, len(stream), 997))
        return httpx2.Response(200, headers={"content-type": sse.CONTENT_TYPE}, content=parts)

    transport = httpx2.MockTransport(answer)
    return openai.OpenAI(
        base_url="http://test/v1", api_key="x", http_client=httpx2.Client(transport=transport)
    )


def chat_of(stream: bytes) -> list[ChatCompletionChunk]:
    with client(stream) as asking:
        return list(asking.chat.completions.create(model="m", messages=[], stream=True))


def chat_stream(pieces: Sequence[Any], *, include_usage: bool = False, usage: Usage | None = None) -> bytes:
    encoder = ChunkEncoder(HEAD, include_usage=include_usage)
    parts = [encoder.events(batch_of([piece])) + sse.COMMENT for piece in pieces]
    return sse.COMMENT + b"".join(parts) + encoder.end(usage)


def response_stream(pieces: Sequence[Any], usage: Usage | None = None) -> bytes:
    encoder = ResponseEncoder(RESPONSE)
    parts = [encoder.events(batch_of([piece])) + sse.COMMENT for piece in pieces]
    told = usage or Usage()
    counted = {"prompt_tokens": told.prompt, "completion_tokens": told.completion, "total_tokens": told.total}
    return sse.COMMENT + b"".join(parts) + encoder.ended({"token_usage": counted}, 1_700_000_001)


def events_of(stream: bytes) -> list[Any]:
    return [known(_EVENT.validate_json(data, strict=True)) for data in data_of(stream)]


# Whole answers


def test_a_whole_completion() -> None:
    told = strict(ChatCompletion, completion(HEAD, "你好", USAGE))
    assert told.choices[0].message.content == "你好"
    assert told.choices[0].finish_reason == "stop"
    assert (told.usage.prompt_tokens, told.usage.completion_tokens, told.usage.total_tokens) == (3, 4, 7)
    assert strict(ChatCompletion, completion(HEAD, {"a": 1}, None)).choices[0].message.content == '{"a":1}'
    assert strict(ChatCompletion, completion(HEAD, None, None)).usage.total_tokens == 0


def test_models() -> None:
    assert strict(Model, jsontext.dumps(model_list.model("m", 1))).id == "m"
    assert model_list.model_list("m", 1)["data"] == [model_list.model("m", 1)]


@pytest.mark.parametrize(
    "told", [None, {}, 7, {"prompt_tokens": "3"}, {"total_tokens": True}, {"total_tokens": -1}]
)
def test_tokens_nobody_counted(told: Any) -> None:
    assert usage_of(told) is None


def test_tokens() -> None:
    assert usage_of({"prompt_tokens": 3, "completion_tokens": 4}) == USAGE
    assert usage_of({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9}) == Usage(3, 4, 9)


def answer(content: Any = "", finish: str = "stop") -> dict[str, Any]:
    return {"content": content, "token_usage": TOKENS, "extra": {"finish_reason": finish}}


@pytest.mark.parametrize(
    ("told", "status", "reason"),
    [
        (RESPONSE.members("in_progress"), "in_progress", None),
        (answered(RESPONSE, answer(), 1_700_000_002), "completed", None),
        (answered(RESPONSE, answer(finish="tool_calls"), 1_700_000_002), "completed", None),
        (answered(RESPONSE, answer(finish="length"), 1_700_000_002), "incomplete", "max_output_tokens"),
        (answered(RESPONSE, answer(finish="content_filter"), 1), "incomplete", "content_filter"),
        (stopped(RESPONSE, "be"), "incomplete", "stopped"),
        (stopped(RESPONSE, None), "incomplete", "stopped"),
        (failed(RESPONSE, None, 500, "x"), "failed", None),
        (failed(RESPONSE, "be", 429, "x"), "failed", None),
    ],
)
def test_what_every_response_has(told: dict[str, Any], status: str, reason: str | None) -> None:
    assert told.keys() >= REQUIRED
    assert [name for name in NOT_NULL if told[name] is None] == []
    assert told["status"] == status
    assert told["incomplete_details"] == (None if reason is None else {"reason": reason})
    assert (told["completed_at"] is not None) == (status == "completed")
    assert (told["error"] is not None) == (status == "failed")
    assert all(
        item["status"] == ("incomplete" if status != "completed" else status) for item in told["output"]
    )


def test_what_was_asked_is_told_again() -> None:
    asked: dict[str, Any] = {
        "frequency_penalty": 0.5,
        "instructions": "Be brief.",
        "max_output_tokens": 9,
        "max_tool_calls": 2,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "presence_penalty": -0.5,
        "previous_response_id": "resp_0",
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "reasoning": {"effort": "low", "summary": "auto"},
        "safety_identifier": "who",
        "service_tier": "flex",
        "temperature": 0.3,
        "text": {
            "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
        },
        "tool_choice": "required",
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True, "description": "d"}],
        "top_logprobs": 3,
        "top_p": 0.5,
        "truncation": "auto",
        "user": "who",
    }
    told = Response("resp_1", 1, "m", "s", True, asked).members("in_progress")
    assert {*asked, "prompt"} == set(ECHOED)
    for name, value in asked.items():
        if name != "text":
            assert told[name] == value
    assert told["text"]["format"] == {**asked["text"]["format"], "description": None}
    strict(OpenAIResponse, jsontext.dumps(told))


def test_what_is_added_to_what_was_asked() -> None:
    asked: dict[str, Any] = {
        "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}],
        "reasoning": {"effort": "low"},
        "text": {"verbosity": "low", "format": None},
        "service_tier": "auto",
    }
    told = Response("resp_1", 1, "m", "s", True, asked).members("in_progress")
    assert told["tools"] == [
        {"type": "function", "name": "f", "description": None, "parameters": None, "strict": None},
        {"type": "web_search"},
    ]
    assert told["reasoning"] == {"effort": "low", "summary": None}
    assert told["text"] == {"verbosity": "low", "format": {"type": "text"}}
    assert told["service_tier"] == "default"


def test_a_response_of_no_conversation() -> None:
    told = Response("resp_1", 1, "m", None, False, {}).members("in_progress")
    assert (told["conversation"], told["store"]) == (None, False)


@pytest.mark.parametrize("status", ["in_progress", "completed", "failed"])
def test_a_response_in_every_state(status: str) -> None:
    error = {"code": "server_error", "message": "x"} if status == "failed" else None
    for content in (None, "", "text", {"a": 1}):
        told = strict(
            OpenAIResponse,
            jsontext.dumps(RESPONSE.members(status, content=content, usage=USAGE, error=error)),
        )
        assert told.status == status
        assert told.output_text == (
            "" if content is None else content if isinstance(content, str) else '{"a":1}'
        )
        assert (told.instructions, told.metadata, told.conversation.id) == ("Be brief.", {"a": "b"}, "s")
        assert told.usage.input_tokens == 3
    bare = Response("resp_1", 1, "m", "s", True, {})
    assert strict(OpenAIResponse, jsontext.dumps(bare.members(status))).metadata == {}


# Streams


def test_a_stream_of_chunks() -> None:
    for stream, told in (
        (chat_stream(["a", "b"]), []),
        (chat_stream(["a", "b"], include_usage=True, usage=USAGE), [7]),
        (chat_stream(["a", "b"], include_usage=True), [0]),  # as in a whole answer
    ):
        *chunks, done = data_of(stream)
        assert done == "[DONE]"
        read = [strict(ChatCompletionChunk, chunk) for chunk in chunks]
        assert {(chunk.id, chunk.model, chunk.created) for chunk in read} == {
            ("chatcmpl-1", "m", 1_700_000_000)
        }
        choices = [chunk.choices[0] for chunk in read if chunk.choices]
        assert [choice.delta.role for choice in choices] == ["assistant", None, None, None]
        assert [choice.delta.content for choice in choices] == ["", "a", "b", None]
        assert [choice.finish_reason for choice in choices] == [None, None, None, "stop"]
        assert [chunk.usage.total_tokens for chunk in read if chunk.usage] == told
        assert not told or read[-1].choices == []
        assert all(("usage" in json.loads(chunk)) is bool(told) for chunk in chunks)


@pytest.mark.parametrize("finish", ["stop", "length", "content_filter"])
def test_why_an_answer_ended(finish: str) -> None:
    members = {"extra": {"finish_reason": finish}}
    assert (
        strict(ChatCompletion, completion(HEAD, "a", None, finish_reason(members))).choices[0].finish_reason
        == finish
    )
    encoder = ChunkEncoder(HEAD)
    *_, last = chat_of(encoder.events(batch_of(["a"])) + encoder.end(None, finish_reason(members)))
    assert last.choices[0].finish_reason == finish


@pytest.mark.parametrize(
    "odd",
    [None, {}, {"extra": None}, {"extra": {"finish_reason": 7}}, {"extra": {"finish_reason": "tool_calls"}}],
)
def test_a_reason_that_is_not_known(odd: Any) -> None:
    assert finish_reason(odd) == "stop"


@settings(deadline=None, max_examples=40)  # a client of the package takes a while to make
@given(
    st.lists(
        st.text() | st.sampled_from(ODD) | st.none() | st.dictionaries(st.text(max_size=3), st.integers())
    )
)
def test_any_piece_in_a_stream_of_chunks(pieces: list[Any]) -> None:
    stream = chat_stream(pieces)
    list(data_of(stream))
    contents = [chunk.choices[0].delta.content for chunk in chat_of(stream)]
    assert contents[0] == ""
    assert contents[1:-1] == [as_text(piece) for piece in pieces]


def as_text(piece: Any) -> str:
    if isinstance(piece, dict):
        return jsontext.dumps(piece).decode()
    return "" if piece is None else str(piece)


def test_the_client_raises_where_a_stream_of_chunks_failed() -> None:
    for pieces in ([], ["a"]):
        encoder = ChunkEncoder(HEAD)
        stream = (encoder.events(batch_of(pieces)) if pieces else b"") + encoder.error(
            to_problem(OSError("secret")), OSError(), "r"
        )
        with pytest.raises(openai.APIError, match="The component failed"):
            chat_of(stream)
        assert b"[DONE]" not in stream
        assert b"secret" not in stream


ORDER = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


def test_the_events_of_a_response() -> None:
    events = events_of(response_stream(["a", "b"], USAGE))
    assert [event.type for event in events] == ORDER
    assert [event.sequence_number for event in events] == list(range(len(ORDER)))
    assert [event.delta for event in events if event.type == ORDER[4]] == ["a", "b"]
    last = events[-1].response
    assert (last.output_text, last.status, last.usage.total_tokens) == ("ab", "completed", 7)
    assert events[-2].item == last.output[0]
    ids = {event.item_id for event in events if hasattr(event, "item_id")}
    assert ids == {last.output[0].id}


@settings(deadline=None, max_examples=40)  # a client of the package takes a while to make
@given(st.lists(st.text() | st.sampled_from(ODD) | st.dictionaries(st.text(max_size=3), st.integers())))
def test_any_piece_in_a_response(pieces: list[Any]) -> None:
    stream = response_stream(pieces)
    list(data_of(stream))
    whole = "".join(map(as_text, pieces))
    with client(stream) as asking:
        read = list(asking.responses.create(model="m", input="x", stream=True))
        assert "".join(event.delta for event in read if event.type == "response.output_text.delta") == whole
        with asking.responses.stream(model="m", input="x") as events:
            assert events.get_final_response().output_text == whole


@pytest.mark.parametrize("pieces", [[], ["a", "b"]])
def test_a_response_that_fails_or_is_stopped(pieces: list[str]) -> None:
    for error, code in (
        (ComponentError("secret"), "server_error"),
        (RateLimited("slow"), "rate_limit_exceeded"),
    ):
        encoder = ResponseEncoder(RESPONSE)
        what = to_problem(error)
        begun = encoder.events(batch_of(pieces)) if pieces else b""
        stream = begun + encoder.failed(what.status, what.text)
        last = events_of(stream)[-1]
        assert last.type == "response.failed"
        assert (last.response.status, last.response.error.code) == ("failed", code)
        assert last.response.output_text == "".join(pieces)
        assert b"secret" not in stream
    encoder = ResponseEncoder(RESPONSE)
    begun = encoder.events(batch_of(pieces)) if pieces else b""
    events = [json.loads(data) for data in data_of(begun + encoder.stopped())]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1] == {
        "type": "response.incomplete",
        "sequence_number": len(events) - 1,
        "response": stopped(RESPONSE, "".join(pieces) if pieces else None),
    }


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter",) * 2])
def test_a_response_that_is_cut_by_its_model(finish: str, reason: str) -> None:
    encoder = ResponseEncoder(RESPONSE)
    *_, item, last = events_of(encoder.events(batch_of(["a"])) + encoder.ended(answer(finish=finish), 1))
    assert (item.item.status, last.type) == ("incomplete", "response.incomplete")
    assert (last.response.status, last.response.incomplete_details.reason) == ("incomplete", reason)
    assert (last.response.output_text, last.response.usage.total_tokens) == ("a", 7)


@pytest.mark.parametrize("name", ['"content":null', '"}', "m\u2028"])
def test_a_model_name_that_looks_like_the_protocol(name: str) -> None:
    encoder = ChunkEncoder(CompletionHead("i", 1, name))
    chunks = chat_of(encoder.events(batch_of(["a"])) + encoder.end(None))
    assert [chunk.model for chunk in chunks] == [name] * 3
