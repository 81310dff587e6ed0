"""What OpenAI-compatible servers say, read by its shape; why an answer ended; halves of surrogate pairs."""

from __future__ import annotations

import contextvars
import json
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from appbuilder import AppBuilderClient, Message, Playground
from appbuilder.adapters.function import as_component
from appbuilder.core.context import init_context
from appbuilder.core.message import AnswerMessage
from appbuilder.errors import ModelRejected, ModelUnavailable, RateLimited
from appbuilder.jsontext import NotJson
from appbuilder.models.completion_chunks import delta_of, reasons_on
from appbuilder.models.failures import Failure
from appbuilder.testing import AppDouble, AppReply, GatewayDouble, OpenAIDouble, Reply

HELLO = Message("你好")


def chunk(delta: Any = None, reason: Any = None, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason, **choice}]}


def events(*chunks: Any, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(each)}\n\n" for each in chunks] + ["data: [DONE]\n\n"] * done
    return "".join(lines).encode()


def answer(model: str, *, stream: bool = True) -> tuple[str, AnswerMessage[Any]]:
    made = Playground(model=model).run(HELLO, stream=stream)
    return "".join(made.content or ""), made


TEXTS: list[tuple[Any, str]] = [
    (chunk({"content": "x"}), "x"),
    (chunk({"content": None}), ""),
    (chunk({}), ""),
    (chunk(None), ""),
    ({}, ""),
    ({"choices": None}, ""),
    ({"choices": []}, ""),
    (chunk({"content": "x", "tool_calls": None, "function_call": None}), "x"),
    (chunk({"content": "x", "tool_calls": []}), "x"),
    (chunk({"content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}), "xy"),
    (chunk({"content": ["x", {"type": "output_text", "text": "y"}, {"type": "image_url"}]}), "xy"),
    (chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}), ""),
    (chunk({"content": None, "refusal": "no"}), "no"),
    (chunk(None, message={"role": "assistant", "content": "x"}), "x"),
    (chunk(None, text="x"), "x"),
    ({"choices": [{"index": 0, "delta": {"content": "x"}}, {"index": 1, "delta": {"content": "y"}}]}, "x"),
    (chunk({"content": "x"}) | {"usage": "many"}, "x"),
    (chunk({"content": "x"}) | {"usage": [1]}, "x"),
]


@pytest.mark.parametrize(("told", "text"), TEXTS)
def test_texts(told: dict[str, Any], text: str) -> None:
    assert delta_of(told).text == text
    assert delta_of(told).usage == {}


MALFORMED: list[Any] = [
    chunk({"content": {"a": 1}}),
    chunk({"content": 5}),
    chunk({"content": True}),
    chunk({"content": [5]}),
    chunk({"content": [{"type": "text", "text": 5}]}),
    chunk({"refusal": {}, "content": None}) | {"choices": "x"},
    chunk("text"),
    chunk([]),
    chunk({"content": "x"}, reason=5),
    chunk({"content": "x"}, reason={"type": "stop"}),
    {"choices": {"0": {}}},
    {"choices": "x"},
    {"choices": ["x"]},
    {"choices": [None]},
]


@pytest.mark.parametrize("told", MALFORMED)
def test_a_member_of_another_type_is_an_error_of_the_server(
    openai_server: OpenAIDouble, told: dict[str, Any]
) -> None:
    with pytest.raises(NotJson):
        delta_of(told)
    for body in (events(told), json.dumps(told).encode()):
        openai_server.reply(Reply(raw=body))
        with pytest.raises(ModelUnavailable, match="cannot be read"):
            answer("openai/m")


@pytest.mark.parametrize("told", [5, [], "x", None, True])
def test_an_event_that_is_no_object(openai_server: OpenAIDouble, told: Any) -> None:
    openai_server.reply(Reply(raw=events(told)))
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        answer("openai/m")


@pytest.mark.parametrize("told", [{"answer": 5}, {"answer": {"text": "x"}}, {"answer": ["x"]}])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_of_a_gateway_that_is_no_text(gateway: GatewayDouble, told: Any, stream: bool) -> None:
    gateway.reply(Reply(raw=events(told) if stream else json.dumps(told).encode()))
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        answer("eb-4", stream=stream)


@pytest.mark.parametrize(
    ("delta", "thinks"),
    [({"reasoning_content": "x"}, True), ({"reasoning": "x"}, True), ({"reasoning_details": [{}]}, True),
     ({"content": [{"type": "thinking", "thinking": []}]}, True), ({"content": "x"}, False),
     ({"reasoning_content": " "}, False), ({"reasoning_content": None}, False)],
)
def test_thoughts(delta: Any, thinks: bool) -> None:
    assert reasons_on(chunk(delta)) is thinks


CALLS = [
    {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "x", "arguments": ""}}]},
    {"tool_calls": [{"name": "x"}]},
    {"function_call": {"name": "x", "arguments": "{}"}},
]


@pytest.mark.parametrize("delta", CALLS)
def test_a_tool_that_nobody_handles_is_named(delta: Any) -> None:
    with pytest.raises(Failure, match=r"asked for the tool 'x', which this component does not handle"):
        delta_of(chunk(delta))


@pytest.mark.parametrize(
    "delta", [{"tool_calls": "x"}, {"tool_calls": {}, "function_call": 5}, {"tool_calls": [5]}]
)
def test_a_tool_without_a_name(delta: Any) -> None:
    with pytest.raises(Failure, match="asked for a tool, which"):
        delta_of(chunk(delta))


def test_an_answer_that_ended_with_an_error(openai_server: OpenAIDouble) -> None:
    openai_server.default = Reply(["half"], finish="error")
    with pytest.raises(ModelUnavailable, match="while the model answered"):
        answer("openai/m")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("pieces", [[], ["let me see"]])
def test_a_models_calls_are_an_error(openai_server: OpenAIDouble, pieces: list[str], stream: bool) -> None:
    openai_server.default = Reply(pieces, tool_calls=[("weather", {"city": "北京"})], finish="tool_calls")
    with pytest.raises(ModelRejected, match="'weather'"):
        answer("openai/m", stream=stream)
    assert len(openai_server.requests) == 1
    openai_server.default = Reply(pieces, finish="tool_calls")
    with pytest.raises(ModelRejected, match="a tool"):
        answer("openai/m", stream=stream)


REASONS = [("stop", None), ("eos", None), ("end_turn", None), ("length", "length"), ("max_tokens", "length"),
           ("content_filter", "content_filter"), ("SAFETY", "content_filter"), ("abort", "abort")]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("told", "said"), REASONS)
def test_why_an_answer_is_not_whole(
    openai_server: OpenAIDouble, told: str, said: str | None, stream: bool
) -> None:
    openai_server.reply(Reply(["半", "句"], finish=told))
    text, made = answer("openai/m", stream=stream)
    assert (text, made.content, made.extra.get("finish_reason")) == ("半句", "半句", said)


def handed_on(message: str) -> Iterator[str]:
    yield "> "
    yield from Playground(model="openai/m").run(Message(message), stream=True).content or ()


def whole(message: str) -> str:
    return f"> {Playground(model='openai/m').run(Message(message)).content}"


def other_words(message: str) -> str:
    return f"{Playground(model='openai/m').run(Message(message)).content} was said."


def asked_again(message: str) -> Iterator[str]:
    Playground(model="openai/m").run(Message(message))
    yield from handed_on(message)


@pytest.mark.parametrize(
    ("program", "said"),
    [(handed_on, "length"), (whole, "length"), (other_words, None), (asked_again, None)],
)
def test_a_program_that_hands_on_a_models_text_alone(
    openai_server: OpenAIDouble, program: Any, said: str | None
) -> None:
    openai_server.reply(Reply(["半", "句", "\n"], finish="length"))

    def run() -> Any:
        init_context("s", "r")
        made = as_component(program).run(message=Message("q"), stream=True)
        if not isinstance(made.content, str):
            deque(made.content, maxlen=0)
        return made

    made = contextvars.copy_context().run(run)
    assert (getattr(made, "extra", None) or {}).get("finish_reason") == said


@pytest.mark.parametrize(
    ("more", "said"),
    [({"finish_reason": "length"}, "length"), ({"finish_reason": "normal"}, None),
     ({"is_truncated": True}, "length"), ({"is_truncated": False}, None), ({"finish_reason": 5}, None)],
)
@pytest.mark.parametrize("stream", [False, True])
def test_why_an_answer_of_a_gateway_is_not_whole(
    gateway: GatewayDouble, more: Any, said: str | None, stream: bool
) -> None:
    gateway.reply(Reply(["半", "句"], extra=more))
    _, made = answer("eb-4", stream=stream)
    assert (made.content, made.extra.get("finish_reason")) == ("半句", said)


WHOLE = chunk({"content": "x"})
END = chunk({}, "stop")
ENDS = {
    "both": (events(WHOLE, END), True),
    "[DONE] alone": (events(WHOLE), True),
    "[DONE] and blanks": (events(WHOLE, done=False) + b"data:  [DONE] \n\n", True),
    "a finish_reason alone": (events(WHOLE, END, done=False), True),
    "a finish_reason with the last text": (events(chunk({"content": "x"}, "stop"), done=False), True),
    "neither": (events(WHOLE, done=False), False),
    "something after [DONE]": (events(WHOLE) + events(chunk({"content": "y"})), True),
    "not a stream": (json.dumps(chunk(None, "stop", message={"content": "x"})).encode(), True),
    "not a stream, no reason": (json.dumps(chunk(None, message={"content": "x"})).encode(), True),
}


@pytest.mark.parametrize(("raw", "whole"), ENDS.values(), ids=ENDS)
def test_ends(openai_server: OpenAIDouble, raw: bytes, whole: bool) -> None:
    openai_server.reply(Reply(raw=raw))
    if whole:
        assert answer("openai/m")[0] == "x"
    else:
        with pytest.raises(ModelUnavailable, match="cut short"):
            answer("openai/m")


@pytest.mark.parametrize("end", [events(END, done=False), events()], ids=["finish_reason", "[DONE]"])
def test_a_connection_that_is_left_open_is_not_waited_for(
    end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appbuilder.models.openai.LAST_WORDS", 0.1)

    class Open(OpenAIDouble):
        def _answer_call(self, exchange: Any, body: Any) -> None:
            exchange.begin(Reply(), "text/event-stream")
            exchange.chunk(events(WHOLE, done=False) + end)
            exchange.wait_until_disconnected()

    with Open() as double:
        monkeypatch.setenv("OPENAI_BASE_URL", double.base_url)
        assert answer("openai/m")[0] == "x"
        double.wait_for_left()


def test_a_gateway_that_counts_with_each_event(gateway: GatewayDouble) -> None:
    counted, plain = {"answer": "x", "usage": {"total_tokens": 1}}, {"answer": "y"}
    for said in ((counted, plain), (plain, counted)):
        gateway.reply(Reply(raw=events(*said, done=False)))
    with pytest.raises(ModelUnavailable, match="cut short"):
        answer("eb-4")
    assert answer("eb-4")[0] == "yx"


def test_a_gateways_done_is_an_end(gateway: GatewayDouble) -> None:
    gateway.reply(Reply(raw=events({"answer": "x"})))
    assert answer("eb-4")[0] == "x"


def test_a_connection_is_used_again_after_done(openai_server: OpenAIDouble) -> None:
    for _ in range(3):
        answer("openai/m")
    assert openai_server.connections == 1


ERRORS: list[tuple[bytes, Any, str]] = [
    (b'{"error": {"message": "no such model", "code": 404}}', ModelRejected, "404 no such model"),
    (b'{"error": "quota"}', ModelUnavailable, "quota"),
    (b'{"object": "error", "message": "too long", "code": 400}', ModelRejected, "too long"),
    (b'{"detail": "Not Found"}', ModelUnavailable, "Not Found"),
    (b'{"error_code": 18, "error_msg": "qps"}', ModelUnavailable, "qps"),
    (b'{"choices": [], "error": {"type": "rate_limit_error"}}', RateLimited, "fewer"),
    (b'{"error": {"message": {"a": 1}, "code": [1]}}', ModelUnavailable, "failed"),
]


@pytest.mark.parametrize(("body", "kind", "said"), ERRORS)
def test_an_error_with_status_200(openai_server: OpenAIDouble, body: bytes, kind: Any, said: str) -> None:
    for raw in (body, b"data: " + body + b"\n\n", b"event: error\ndata: " + body + b"\n\n"):
        openai_server.default = Reply(raw=raw)
        with pytest.raises(kind, match=said):
            answer("openai/m")


@pytest.mark.parametrize("data", [b"it broke", b'{"reason": "it broke"}', b"[1]"])
def test_an_event_named_error(openai_server: OpenAIDouble, gateway: GatewayDouble, data: bytes) -> None:
    event = b"event: error\ndata: " + data + b"\n\n"
    openai_server.default = gateway.default = Reply(raw=event)
    for model in ("openai/m", "eb-4"):
        with pytest.raises(ModelUnavailable, match="failed" if model == "openai/m" else "."):
            answer(model)


# Halves of surrogate pairs

PAIRS: list[tuple[list[str], list[str]]] = [
    (["smile \ud83d", "\ude00 end"], ["smile ", "😀 end"]),
    (["\ud83d", "\ude00"], ["😀"]),
    (["a\ud83d", "b"], ["a", "\ufffdb"]),
    (["a\ude00b"], ["a\ufffdb"]),
    (["a", "\ud83d"], ["a", "\ufffd"]),
    (["\ud83d\ud83d", "\ude00"], ["\ufffd", "😀"]),
    (["👍🏽", "é"], ["👍🏽", "é"]),
]


@pytest.mark.parametrize(("pieces", "said"), PAIRS)
@pytest.mark.parametrize("model", ["openai/m", "eb-4"])
def test_halves_are_joined_where_pieces_meet(
    request: pytest.FixtureRequest, model: str, pieces: list[str], said: list[str]
) -> None:
    double = request.getfixturevalue("gateway" if model == "eb-4" else "openai_server")
    double.default = Reply(pieces, usage={})
    made = Playground(model=model).run(HELLO, stream=True)
    assert list(made.content or ()) == said
    assert made.content == "".join(said)
    assert answer(model, stream=False)[1].content == "".join(said)


@pytest.mark.parametrize(("pieces", "said"), PAIRS)
def test_halves_in_an_application(app_server: AppDouble, pieces: list[str], said: list[str]) -> None:
    client = AppBuilderClient("app-1")
    conversation = client.create_conversation()
    app_server.reply(AppReply(pieces, usage={}), AppReply(pieces, usage={}))
    answers = [each.answer for each in client.run(conversation, "q", stream=True).content]
    assert [each for each in answers if each] == said
    assert client.run(conversation, "q").content.answer == "".join(said)


def test_halves_in_a_prompt(openai_server: OpenAIDouble, gateway: GatewayDouble) -> None:
    for model in ("openai/m", "eb-4"):
        assert Playground(model=model).run(Message("a\ud83d")).content == "a\ufffd"
    assert openai_server.requests[0].body["messages"][0]["content"] == "a\ufffd"
    assert gateway.calls[0].body["query"] == "a\ufffd"
