"""Answers of applications without a server: any bytes, any members, any cut of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appbuilder.components.app_client.answers import answer_of, merged, stream_message, streamed
from appbuilder.components.app_client.requests import users_words
from appbuilder.components.app_client.schemas import (
    AppBuilderClientAnswer,
    Event,
    RAGDetail,
    ToolOutput,
    checked,
)
from appbuilder.errors import InvalidRequest
from appbuilder.models.failures import Failure
from appbuilder.models.timeouts import Patience
from appbuilder.testing import AppReply
from appbuilder.testing.app_events import Run

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["answer", "content", "message_id", "events", "is_completion", "event_code", "event_status", "outputs",
     "content_type", "event_type", "usage", "tool_calls", "id", "function", "name", "arguments",
     "_fields_set", "model_config", "text", "code", "detail"]
)  # fmt: skip
ANSWERS = st.recursive(
    JSON, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=12
)
TEXTS = st.lists(st.text(min_size=1, max_size=4), max_size=4)
MEMBERS = {"request_id": "r", "date": "d", "conversation_id": "c", "message_id": "m"}
REPLIES = st.builds(
    lambda published, asks, calls, proposed: AppReply(
        published=published, asks=None if calls else asks, follow_up=proposed,
        tool_calls=[("f", {"a": number}) for number in range(calls)],
    ),
    TEXTS, st.none() | st.text(max_size=3), st.integers(0, 2), TEXTS,
)  # fmt: skip

# How long an example takes says how busy the machine is.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Bytes(httpx2.SyncByteStream):
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)


def read(chunks: list[bytes]) -> list[AppBuilderClientAnswer]:
    return list(streamed(httpx2.Response(200, stream=Bytes(chunks)), Patience(60), False))


@unhurried
@given(st.dictionaries(NAMES, ANSWERS, max_size=6))
def test_an_answer_is_read_or_refused_with_a_value_error(members: dict[str, Any]) -> None:
    try:
        answer = answer_of(members)
    except ValueError:
        return
    assert isinstance(answer.text, str)
    assert isinstance(merged([answer, answer]).text, str)
    assert isinstance(answer.interrupt_event_id, (str, type(None)))
    assert answer.model_dump_json()


@unhurried
@given(REPLIES, TEXTS, st.data())
def test_a_stream_says_the_same_however_it_is_cut_and_as_the_whole(
    reply: AppReply, pieces: list[str], data: st.DataObject
) -> None:
    run = Run(reply, pieces, {"total_tokens": 3}, MEMBERS, ["c-1", "c-2"][: len(reply.tool_calls)], "q-1")
    lines = [json.dumps(message, ensure_ascii=False) for message in run.messages()]
    sent = "".join(f"data: {line}\n\n" for line in lines).encode()
    ends = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=5)))
    chunks = [sent[start:end] for start, end in zip([0, *ends], [*ends, len(sent)], strict=True)]
    answers = read(chunks)
    assert answers == [answer_of(message) for message in run.messages()]
    together, whole = merged(answers), answer_of(run.whole())
    assert (together.answer, together.message_id) == (whole.answer, "m")
    assert (together.text, together.interrupt_event_id) == (whole.text, whole.interrupt_event_id)
    assert whole.text == "".join([*pieces, *reply.published, *([reply.asks] if reply.asks else [])])


@unhurried
@given(TEXTS, st.integers(0, 10))
def test_a_stream_without_its_end_is_cut_short(pieces: list[str], said: int) -> None:
    run = Run(AppReply(), pieces, {}, MEMBERS)
    messages = run.messages()[:said]
    sent = [f"data: {json.dumps(message)}\n\n".encode() for message in messages]
    if said >= len(run.messages()):
        assert len(read(sent)) == len(run.messages())
    else:
        with pytest.raises(Failure, match="cut short"):
            read(sent)


def test_the_end_may_be_followed_by_more() -> None:
    end, later = {"answer": "", "is_completion": True}, {"answer": "x"}
    sent = b"".join(b"data: %b\n\n" % json.dumps(one).encode() for one in (end, later))
    assert [one.answer for one in read([sent, b": comment\n\n", b"data: [DONE]\n\n"])] == ["", "x"]


def test_an_error_in_a_stream_is_told() -> None:
    with pytest.raises(Failure) as raised:
        read([b'data: {"code": "4", "message": "m", "requestId": "r"}\n\n'])
    assert "fewer calls" in str(raised.value)


def test_null_counts_as_left_out() -> None:
    step = {"event_code": None, "outputs": None, "usage": {"prompt_tokens": None}, "tool_calls": None}
    answer = answer_of({"answer": None, "message_id": None, "content": [step]})
    assert answer == answer_of({"content": [{"usage": {}}]})
    assert answer.events[0].usage is not None
    assert answer_of({"content": None}) == answer_of({})


def test_only_what_a_workflow_publishes_is_text() -> None:
    told: dict[str, Any] = {"event_type": "chatflow", "content_type": "publish_message"}
    told["detail"] = {"message": "a"}
    events = [told, told | {"event_type": "ChatAgent"}, told | {"content_type": "text"},
              told | {"detail": {"message": None}}, told | {"detail": {}}]
    answer = AppBuilderClientAnswer(answer="b", events=[Event(**event) for event in events])
    assert answer.text == "ba"
    assert [event.published_text for event in answer.events] == ["a", "", "", "", ""]


def test_the_last_question_counts() -> None:
    first, second, other = (
        Event(content_type=kind, detail={"interrupt_event_id": one})
        for kind, one in (("chatflow_interrupt", 1), ("chatflow_interrupt", "b"), ("text", "c"))
    )
    assert AppBuilderClientAnswer(events=[first, second, other]).interrupt_event_id == "b"
    assert AppBuilderClientAnswer(events=[first]).interrupt_event_id == "1"


def test_the_last_id_that_was_told_stays() -> None:
    answers = [AppBuilderClientAnswer(message_id=one) for one in ("a", "b", "")]
    assert merged(answers).message_id == "b"


def test_a_closed_stream_is_what_has_passed() -> None:
    answers = iter([AppBuilderClientAnswer(answer=text) for text in "abc"])
    message = stream_message(answers)
    next(message.content)
    message.content.close()
    assert message.content.answer == "a"
    assert json.loads(message.model_dump_json())["content"]["answer"] == "a"


def test_details() -> None:
    detail = RAGDetail.model_validate({"references": [{"from": "baidu", "id": "1", "colour": "red"}]})
    assert (detail.references[0].from_, detail.references[0].model_extra) == ("baidu", {"colour": "red"})


def test_a_wrong_member_is_named_and_not_quoted() -> None:
    assert checked(ToolOutput, {"tool_call_id": "c", "output": "o"}, "x").output == "o"
    with pytest.raises(InvalidRequest, match=r"^x\.output: .*string") as raised:
        checked(ToolOutput, {"tool_call_id": "c", "output": {"secret": "s"}}, "x")
    assert "secret" not in str(raised.value)
    with pytest.raises(InvalidRequest, match=r"^x: "):
        checked(ToolOutput, 5, "x")


def test_users_words_are_found_at_any_depth() -> None:
    body = {"app_id": "app", "query": "q", "tool_outputs": [{"output": "o"}], "parameters": {"a": ["p", 1]},
            "custom_metadata": None, "reason": "r", "flag": ["f"], "conversation_id": "c"}
    assert sorted(users_words(body)) == ["f", "o", "p", "q", "r"]
