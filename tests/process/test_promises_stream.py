"""The contract's answers and streams, byte for byte, over HTTP: shapes, errors, retries, headers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.process import rawhttp
from tests.process.rawhttp import Client
from tests.process.server import Server
from tests.process.serving import DOORS, appended, probe, rows, serve

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
WAIT = 0.4


@pytest.fixture(scope="module", params=DOORS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("stream")
    with serve("scripted", folder, request.param, FIRST_PIECE_WAIT=str(WAIT), HEARTBEAT="0.1",
               RETRY_BACKOFF="0.01") as running:
        yield running


def say(*pieces: str, **more: Any) -> dict[str, Any]:
    return {"do": "say", "pieces": list(pieces), **more}


def test_an_answer_byte_for_byte(server: Server) -> None:
    body = {"message": "你好", "session_id": "s"}
    answer = rawhttp.chat(server.port, body, {"X-Appbuilder-Request-Id": "r1"})
    pattern = (r'\{"code":0,"message":"","result":\{"session_id":"s","answer_message":'
               rf'\{{"content":"你好","name":"msg","mtype":"str","id":"{UUID}"\}}\}}\}}')
    assert re.fullmatch(pattern, answer.body.decode())
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("X-Appbuilder-Request-Id") == "r1"


def test_a_stream_byte_for_byte(server: Server) -> None:
    with Client(server.port) as client:
        client.post({"message": say("你", "好\n\ndata: x"), "stream": True, "session_id": "s"},
                    {"X-Appbuilder-Request-Id": "r2"})
        response = client.head()
        assert response.status == 200
        assert response.getheader("Content-Type") == "text/event-stream; charset=utf-8"
        assert response.getheader("Cache-Control") == "no-cache"
        assert response.getheader("X-Appbuilder-Request-Id") == "r2"
        body = response.read().decode()

    def event(done: str, content: str) -> str:
        return (r'data: \{"code":0,"message":"","result":\{"session_id":"s","is_completion":' + done
                + r',"answer_message":\{"content":"' + content
                + rf'","name":"msg","mtype":"str","id":"({UUID})"\}}\}}\}}\n\n')

    match = re.fullmatch(event("false", "你") + event("false", r"好\\n\\ndata: x") + event("true", ""), body)
    assert match, body
    assert len(set(match.groups())) == 1
    row = rows(f"sqlite:///{server.folder}/chat.db", "request_id = 'r2' AND message_key = 'answer'")[0]
    assert (row["message_value"]["id"], row["message_value"]["content"]) == (match[1], "你好\n\ndata: x")


def test_an_empty_stream_has_a_last_event(server: Server) -> None:
    (event,) = rawhttp.stream(server.port, {"message": say()})
    assert event["result"]["is_completion"] is True
    assert event["result"]["answer_message"]["content"] == ""


def test_whole_and_streamed_are_one(server: Server) -> None:
    """A whole answer streams as one piece; a stream asked for whole is its joined text."""
    events = rawhttp.stream(server.port, {"message": "whole"})
    assert [event["result"]["answer_message"]["content"] for event in events] == ["whole", ""]
    assert rawhttp.chat(server.port, {"message": say("a", "b")}).content == "ab"


def test_without_a_session_id_one_is_made_and_returned(server: Server) -> None:
    first = rawhttp.chat(server.port, {"message": {"do": "echo", "text": "remember"}}).result["session_id"]
    assert re.fullmatch(UUID, first)
    question = {"message": {"do": "history", "key": "answer"}, "session_id": first}
    assert rawhttp.chat(server.port, question).content == ["remember"]
    events = rawhttp.stream(server.port, {"message": say("a")})
    made = {event["result"]["session_id"] for event in events}
    assert len(made) == 1
    assert made != {first}


def test_the_first_piece_leaves_before_the_second_is_made(server: Server) -> None:
    with Client(server.port) as client:
        client.post({"message": say("a", "b", pace=1.0), "stream": True})
        start = time.monotonic()
        client.head()
        events = client.events()
        assert next(events)["result"]["answer_message"]["content"] == "a"
        assert time.monotonic() - start < 0.9
        assert [event["result"]["answer_message"]["content"] for event in events] == ["b", ""]


def test_an_early_failure_of_a_stream_has_its_true_status(server: Server) -> None:
    body = {"message": {"do": "fail_inside", "kind": "OSError", "mark": "early"}, "stream": True}
    answer = rawhttp.chat(server.port, body)
    assert (answer.status, answer.header("Content-Type")) == (500, "application/json")


def test_a_late_first_piece_is_preceded_by_comments(server: Server) -> None:
    with Client(server.port) as client:
        client.post({"message": {"do": "late", "seconds": 1.0, "text": "late"}, "stream": True})
        start = time.monotonic()
        assert client.head().status == 200
        assert WAIT - 0.1 < time.monotonic() - start < 0.9
        blocks = list(client.raw_events())
    comments = [block for block in blocks if block.startswith(b":")]
    assert comments
    assert blocks[: len(comments)] == comments
    assert rawhttp.text_of([json.loads(block[6:]) for block in blocks[len(comments):]]) == "late"


@pytest.mark.parametrize("message", [
    {"do": "fail_inside", "kind": "OSError", "pieces": ["a", "b"], "mark": "began"},
    {"do": "fail_inside", "kind": "SystemExit", "pieces": ["a", "b"], "mark": "began-exit"},
])
def test_an_error_after_the_stream_began_is_its_last_event(server: Server, message: Any) -> None:
    with Client(server.port) as client:
        client.post({"message": message, "stream": True, "session_id": message["mark"]},
                    {"X-Appbuilder-Request-Id": message["mark"]})
        assert client.head().status == 200
        *pieces, last = client.events()
    assert [event["result"]["answer_message"]["content"] for event in pieces] == ["a", "b"]
    assert last.keys() == {"code", "message", "request_id", "result"}
    assert (last["code"], last["request_id"], last["result"]) == (500, message["mark"], None)
    assert "secret" not in last["message"]
    assert probe(server, message["mark"])["calls"] == 1
    stored = appended(f"sqlite:///{server.folder}/chat.db", "session_id = :s", s=message["mark"])
    assert all(row["message_value"].get("state") == "incomplete" for row in stored)


# Retries


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("failures", [1, 2])
def test_an_answer_is_tried_again_while_no_piece_was_sent(
    server: Server, failures: int, stream: bool
) -> None:
    mark = f"retry-{failures}-{stream}"
    body = {"message": {"do": "fail_inside", "kind": "OSError", "times": failures, "mark": mark},
            "session_id": mark}
    if stream:
        assert rawhttp.text_of(rawhttp.stream(server.port, body)) == "recovered"
    else:
        assert rawhttp.chat(server.port, body).content == "recovered"
    stored = appended(f"sqlite:///{server.folder}/chat.db", "session_id = :s", s=mark)
    # What the failed attempts appended is gone, and did not get in the way (SDK: KeyError).
    assert [(row["message_key"], row["message_value"]["content"]) for row in stored] == [
        ("query", mark), ("attempt", failures + 1), ("answer", "recovered")]


@pytest.mark.parametrize(("message", "calls"), [
    ({"do": "fail_inside", "kind": "OSError"}, 3),
    ({"do": "fail_inside", "kind": "ValueError"}, 1),
    ({"do": "fail", "kind": "OSError"}, 1),
    ({"do": "fail_inside", "kind": "SystemExit"}, 1),
], ids=["iterating", "ValueError", "run", "SystemExit"])
@pytest.mark.parametrize("stream", [False, True])
def test_how_often_it_is_tried(server: Server, message: dict[str, Any], calls: int, stream: bool) -> None:
    mark = f"{message['do']}-{message['kind']}-{stream}"
    body = {"message": {**message, "mark": mark}, "stream": stream, "session_id": mark}
    assert rawhttp.chat(server.port, body).status == 500
    assert probe(server, mark)["calls"] == calls
    assert appended(f"sqlite:///{server.folder}/chat.db", "session_id = :s", s=mark) == []


# Headers


def test_the_request_s_own_ids_are_used(server: Server) -> None:
    headers = {"X-Appbuilder-Request-Id": "请求-1", "X-Appbuilder-User-Id": "张三"}
    for stream in (False, True):
        body = {"message": "x", "session_id": "ids", "stream": stream}
        answer = rawhttp.chat(server.port, body, headers)
        assert answer.status == 200
        assert (answer.header("X-Appbuilder-Request-Id") or "").encode("latin-1").decode() == "请求-1"
    refused = rawhttp.chat(server.port, {}, headers)
    assert (refused.status, refused.json["request_id"]) == (400, "请求-1")
    stored = appended(f"sqlite:///{server.folder}/chat.db", "session_id = 'ids'")
    assert {row["request_id"] for row in stored} == {"请求-1"}


def test_health_and_the_document(server: Server) -> None:
    assert rawhttp.get(server.port, "/health").json["code"] == 0
    document = rawhttp.get(server.port, "/openapi.json").json
    assert {"/chat", "/health"} <= document["paths"].keys()
