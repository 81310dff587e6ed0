from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.logs import batch_of, by_name

from appbuilder.engine.turn_request import TurnRequest
from appbuilder.errors import InvalidRequest, Unauthenticated
from appbuilder.protocols import chat
from appbuilder.protocols.errors import Problem

LINE_ENDS = "a\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029b"
"""Where str.splitlines cuts, as iter_lines of httpx and requests do."""


def parse(
    body: Any, headers: Mapping[str, str] | None = None, *, needs_credential: bool = False
) -> TurnRequest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return chat.parse(data, by_name(headers or {}), id="r", needs_credential=needs_credential)


def test_a_request_with_everything() -> None:
    turn = parse(
        {"message": {"query": "你好"}, "stream": True, "session_id": "s", "temperature": 0.5},
        {"X-Appbuilder-User-Id": "张三".encode().decode("latin-1"), "X-Appbuilder-Token": "t"},
    )
    assert turn == TurnRequest(
        message={"query": "你好"}, stream=True, session_id="s", args={"temperature": 0.5}, request_id="r",
        user_id="张三", credential="t",
    )
    assert "credential" not in repr(turn)


def test_a_session_id_is_made_where_there_is_none() -> None:
    first, second = parse({"message": "hi"}), parse({"message": "hi"})
    assert first.session_id != second.session_id
    assert len(first.session_id) == 36
    assert (first.stream, first.args, first.user_id, first.credential) == (False, {}, None, None)


@pytest.mark.parametrize("message", ["", None, 0, [], {}, False])
def test_any_message_is_taken(message: Any) -> None:
    assert parse({"message": message}).message == message


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], "must be a JSON object"),
        ("text", "must be a JSON object"),
        ({}, "'message' is required"),
        ({"message": 1, "stream": 1}, "'stream' must be true or false"),
        ({"message": 1, "stream": "true"}, "'stream' must be true or false"),
        ({"message": 1, "stream": None}, "'stream' must be true or false"),
        (b'{"message":1,"message":2}', "a name stands twice"),
        (b'{"message":NaN}', "NaN"),
        (b'{"message"', "not valid JSON"),
        (b"\xff", "not UTF-8"),
        (b"", "not valid JSON"),
    ],
)
def test_bodies_that_are_refused(body: Any, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        parse(body)


BAD_IDS = ["", "x" * 37, "a\x00b", "a\nb", "\x7f", "\x85"]


@pytest.mark.parametrize("session_id", [*BAD_IDS, None, 1, [], {}, True])
def test_session_ids_that_are_refused(session_id: Any) -> None:
    with pytest.raises(InvalidRequest, match="session_id"):
        parse({"message": 1, "session_id": session_id})


@pytest.mark.parametrize("session_id", ["LOCAL-x", "../x", "'; DROP TABLE t; --", "你好", "x" * 36, " "])
def test_session_ids_that_are_just_ids(session_id: str) -> None:
    assert parse({"message": 1, "session_id": session_id}).session_id == session_id


@pytest.mark.parametrize("value", [*BAD_IDS, "\xff"])
def test_request_ids_that_are_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        chat.request_id(lambda name: value)


def test_request_ids() -> None:
    assert chat.request_id(by_name({"X-Appbuilder-Request-Id": "mine"})) == "mine"
    assert len(chat.request_id(lambda name: None)) == 36


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Appbuilder-Token": ""},
        {"X-Appbuilder-Token": "  "},
        {"X-Appbuilder-Token": "a,b"},
        {"X-Appbuilder-Token": "a", "X-Appbuilder-Authorization": "b"},
    ],
)
def test_a_credential_that_is_missing_empty_or_doubled(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated):
        parse({"message": 1}, headers, needs_credential=True)
    assert parse({"message": 1}, headers).credential in (None, "a,b")


@pytest.mark.parametrize("name", ["X-Appbuilder-Token", "X-Appbuilder-Authorization"])
def test_a_credential_in_either_header(name: str) -> None:
    assert parse({"message": 1}, {name: " token "}, needs_credential=True).credential == "token"


def test_the_answer_is_not_escaped() -> None:
    body = chat.answer("s", {"content": "你好", "mtype": "str"})
    assert json.loads(body) == {
        "code": 0, "message": "",
        "result": {"session_id": "s", "answer_message": {"content": "你好", "mtype": "str"}},
    }
    assert "你好".encode() in body


def events(stream: bytes) -> list[Any]:
    """What an SSE client makes of *stream*: the data of each event. Lines end with LF, CR or both."""
    text = stream.decode().replace("\r\n", "\n").replace("\r", "\n")
    assert text.endswith("\n\n")
    blocks = text[:-2].split("\n\n")
    for block in blocks:
        assert block.startswith("data: ")
        assert "\n" not in block
    return [json.loads(block[len("data: ") :]) for block in blocks]


@given(
    st.lists(st.text() | st.none() | st.dictionaries(st.text(max_size=3), st.integers()), min_size=1),
    st.text(min_size=1, max_size=36),
)
def test_whatever_a_piece_holds_it_is_one_event(pieces: list[Any], session_id: str) -> None:
    encoder = chat.EventEncoder(TurnRequest("q", session_id))
    read = events(encoder.events(batch_of(pieces, {"name": "msg", "id": "m"})))
    shown = [event["result"]["answer_message"]["content"] for event in read]
    assert shown == pieces
    assert all(event["result"]["is_completion"] is False for event in read)


@pytest.mark.parametrize(
    "piece", ["\n\ndata: {}\n\n", "\r", "\r\n\r\n", LINE_ENDS, "\x00", "x" * 2_000_000]
)
def test_pieces_that_look_like_the_protocol(piece: str) -> None:
    written = chat.EventEncoder(TurnRequest("q", "s")).events(batch_of([piece]))
    assert len(written.decode().splitlines()) == 2
    (event,) = events(written)
    assert event["result"]["answer_message"]["content"] == piece


@pytest.mark.parametrize(
    "session_id", ['"answer_message":{"content":null', 'x","answer_message":{"content":null']
)
def test_a_session_id_that_looks_like_the_envelope(session_id: str) -> None:
    head = {"extra": {"answer_message": {"content": None}}}
    (event,) = events(chat.EventEncoder(TurnRequest("q", session_id)).events(batch_of(["a"], head)))
    assert event["result"]["session_id"] == session_id
    assert event["result"]["answer_message"] == {"content": "a", **head}


def test_no_line_end_of_unicode_stands_in_what_is_sent() -> None:
    members = {"content": LINE_ENDS, "extra": {LINE_ENDS: [LINE_ENDS]}}
    whole = chat.answer("s", members)
    assert len(whole.decode().splitlines()) == 1
    assert json.loads(whole)["result"]["answer_message"] == members
    failed = chat.error_event(Problem(400, LINE_ENDS), "r")
    for event in (chat.last_event("s", members), failed):
        assert len(event.decode().splitlines()) == 2


def test_the_last_event_and_an_error() -> None:
    (last,) = events(chat.last_event("s", {"content": "all", "token_usage": {"total_tokens": 4}}))
    assert last["result"] == {
        "session_id": "s", "is_completion": True,
        "answer_message": {"content": "", "token_usage": {"total_tokens": 4}},
    }
    (error,) = events(chat.error_event(Problem(500, "failed"), "r"))
    assert error == {"code": 500, "message": "failed", "request_id": "r", "result": None}
