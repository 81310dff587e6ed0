"""P10: bad input never reaches the component; every error is JSON, has its true status, tells no inside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.process import rawhttp
from tests.process.rawhttp import Answer, Client
from tests.process.server import Server
from tests.process.serving import DOORS, SERVICE, appended, eventually, probe, resident, rows, serve, workers

LIMIT = 100_000
GOOD = {"message": "good"}
INSIDE = ("Traceback", "File \"", "/site-packages/", "appbuilder.", "secret", "sqlite", "SELECT", "werkzeug")


@pytest.fixture(scope="module", params=DOORS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve("scripted", tmp_path_factory.mktemp("bad"), request.param, MAX_BODY=str(LIMIT),
               RETRY_BACKOFF="0.01", TOKEN="the-server-s-own-token") as running:
        yield running


@pytest.fixture
def untouched(server: Server) -> Iterator[Server]:
    """The server, of which the test must not reach the component; it serves on afterwards."""
    before = probe(server)["all"]
    yield server
    assert probe(server)["all"] == before
    assert rawhttp.chat(server.port, GOOD).content == "good"


def check(answer: Answer, status: int) -> Any:
    """An error in the envelope, with its true status."""
    assert answer.status == status, answer.body[:500]
    assert (answer.header("Content-Type") or "").startswith("application/json")
    body = answer.json
    assert body.keys() == {"code", "message", "request_id", "result"}
    assert (body["code"], body["result"]) == (status, None)
    assert isinstance(body["message"], str)
    assert body["message"]
    assert 0 < len(body["request_id"]) <= 36
    assert answer.header("X-Appbuilder-Request-Id") == body["request_id"]
    for word in INSIDE:
        assert word not in body["message"]
    return body


BAD_IDS = [7, None, True, ["a"], {"a": 1}, "", "x" * 37, "字" * 37, "a\nb", "a\x00b", "a\x7f", "a\x85b"]


@pytest.mark.parametrize("session_id", BAD_IDS, ids=repr)
def test_a_bad_session_id(untouched: Server, session_id: Any) -> None:
    check(rawhttp.chat(untouched.port, {**GOOD, "session_id": session_id}), 400)
    check(rawhttp.chat(untouched.port, {**GOOD, "session_id": session_id, "stream": True}), 400)


ODD_IDS = ["LOCAL-x", "../x", "' OR 1=1; --", "%00", "x" * 36, "字" * 36, "\\", " a "]


@pytest.mark.parametrize("session_id", ODD_IDS)
def test_an_odd_session_id_is_just_an_id(server: Server, session_id: str) -> None:
    answer = rawhttp.chat(server.port, {**GOOD, "session_id": session_id})
    assert answer.result["session_id"] == session_id
    found = appended(f"sqlite:///{server.folder}/chat.db", "session_id = :s", s=session_id)
    assert [row["message_key"] for row in found] == ["query", "answer"]


@pytest.mark.parametrize("request_id", ["", "x" * 37, "a\x01b", "\udcff", "a\tb"], ids=repr)
def test_a_bad_request_id(untouched: Server, request_id: str) -> None:
    with Client(untouched.port) as client:
        client.post(GOOD, {"X-Appbuilder-Request-Id": request_id})
        answer = client.answer()
    if "\x01" in request_id:
        assert answer.status == 400  # the HTTP server's own
    else:
        check(answer, 400)


@pytest.mark.parametrize("user_id", ["", "x" * 257, "\udcff"], ids=repr)
def test_a_bad_user_id(untouched: Server, user_id: str) -> None:
    check(rawhttp.chat(untouched.port, GOOD, {"X-Appbuilder-User-Id": user_id}), 400)


BAD_BODIES = {
    "nothing": b"",
    "null": b"null",
    "list": b"[]",
    "text": b'"message"',
    "cut off": b'{"message": "a',
    "two": b'{"message": 1}{}',
    "not UTF-8": b'{"message": "\xff"}',
    "UTF-16": '{"message": 1}'.encode("utf-16"),
    "BOM": b'\xef\xbb\xbf{"message": 1}',
    "NaN": b'{"message": NaN}',
    "Infinity": b'{"message": [-Infinity]}',
    "1e400": b'{"message": 1e400}',
    "long integer": b'{"message": ' + b"9" * 5000 + b"}",
    "long fraction": b'{"message": 0.' + b"9" * 5000 + b"}",
    "deep list": b'{"message": ' + b"[" * 100_000,
    "deep object": b'{"message": ' + b'{"a":' * 15_000 + b"1" + b"}" * 15_001,
    "deep and closed": b'{"message": ' + b"[" * 40_000 + b"]" * 40_000 + b"}",
    "duplicate": b'{"message": 1, "message": 2}',
    "duplicate inside": b'{"message": {"a": 1, "a": 1}}',
    "half a pair": b'{"message": "\\ud800"}',
    "half a pair in a key": b'{"message": {"\\udfff": 1}}',
    "half a pair in an id": b'{"message": 1, "session_id": "\\ud800"}',
    "no message": b"{}",
    "control character": b'{"message": "a\x00"}',
    "single quotes": b"{'message': 1}",
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body(untouched: Server, name: str) -> None:
    check(rawhttp.chat(untouched.port, BAD_BODIES[name]), 413 if len(BAD_BODIES[name]) > LIMIT else 400)


@pytest.mark.parametrize("stream", [None, 0, 1, "true", "", [], {}], ids=repr)
def test_stream_that_is_no_boolean(untouched: Server, stream: Any) -> None:
    check(rawhttp.chat(untouched.port, {**GOOD, "stream": stream}), 400)


@pytest.mark.parametrize("name", ["self", "unknown", "args", "kwargs", "__class__", "request_id", "", "字"])
def test_a_member_the_component_does_not_take(untouched: Server, name: str) -> None:
    check(rawhttp.chat(untouched.port, {**GOOD, name: 1}), 400)


def test_a_member_the_component_takes(server: Server) -> None:
    assert rawhttp.chat(server.port, {**GOOD, "flavour": "!"}).content == "good!"
    assert rawhttp.chat(server.port, GOOD).content == "good"


OTHER_TYPES = ["text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data",
               "application/jsonp", "text/json", "application/json/x"]


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_another_type(untouched: Server, kind: str) -> None:
    check(rawhttp.chat(untouched.port, GOOD, {"Content-Type": kind}), 415)
    check(rawhttp.chat(untouched.port, b"\xff not parsed", {"Content-Type": kind}), 415)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/json;"])
def test_spellings_of_json(server: Server, kind: str) -> None:
    assert rawhttp.chat(server.port, GOOD, {"Content-Type": kind}).content == "good"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip"])
def test_compressed(untouched: Server, coding: str) -> None:
    check(rawhttp.chat(untouched.port, b"\x1f\x8b", {"Content-Encoding": coding}), 415)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"])
def test_another_method(untouched: Server, method: str) -> None:
    with Client(untouched.port) as client:
        client.request(method, "/chat")
        response = client.head()
        if method == "BREW" and untouched.kind == SERVICE:
            assert response.status == 400  # the HTTP server's own: it has a list of methods
            return
        assert response.status == 405
        assert response.getheader("Allow") == "POST"
        assert "json" in (response.getheader("Content-Type") or "")
        if method != "HEAD":
            assert json.loads(response.read())["code"] == 405


OTHER_PATHS = ["/", "/chat/", "/nothing", "/console", "/chat%00", "/../etc/passwd", "/static/x",
               "/?__debugger__=yes&cmd=resource&f=debugger.js"]


@pytest.mark.parametrize("path", OTHER_PATHS)
def test_another_path(untouched: Server, path: str) -> None:
    with Client(untouched.port) as client:
        client.request("GET", path)
        check(client.answer(), 404)
    with Client(untouched.port) as client:
        client.post(GOOD, path=path)
        check(client.answer(), 404)


# Size


def test_as_large_as_the_limit_and_one_more(server: Server) -> None:
    exact = b'{"message": "' + b"x" * (LIMIT - 15) + b'"}'
    assert len(exact) == LIMIT
    assert rawhttp.chat(server.port, exact).status == 200
    check(rawhttp.chat(server.port, exact.replace(b": ", b":  ")), 413)


@pytest.mark.parametrize("length", [None, "999999999999", str(LIMIT + 1)])
def test_larger_than_the_limit_in_bounded_memory(untouched: Server, length: str | None) -> None:
    (pid,) = workers(untouched)
    before = resident(pid)
    headers = [("Content-Type", "application/json"),
               ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", length)]
    chunk = b"x" * 65536
    with Client(untouched.port) as client:
        client.request("POST", "/chat", headers=headers)
        sent = client.flood(b"10000\r\n" + chunk + b"\r\n" if length is None else chunk, 200_000_000)
        check(client.answer(), 413)
    # Sockets buffer some megabytes on their way.
    assert sent < 30_000_000
    assert resident(pid) - before < 20_000_000


def test_chunks_within_the_limit(server: Server) -> None:
    with Client(server.port) as client:
        client.request("POST", "/chat", b'5\r\n{"mes\r\nc\r\nsage": "ok"}\r\n0\r\n\r\n',
                       [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")])
        assert client.answer().content == "ok"


FALSE_CHUNKS = [b"zz\r\nx\r\n0\r\n\r\n", b"-1\r\nx", b"5\r\nab\r\n0\r\n\r\n", b"fffffffffffffffff\r\nx"]


@pytest.mark.parametrize("body", FALSE_CHUNKS)
def test_false_chunks(untouched: Server, body: bytes) -> None:
    with Client(untouched.port) as client:
        client.request("POST", "/chat", body,
                       [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")])
        client.sock.shutdown(1)
        assert client.answer().status in {400, 413}


def test_a_body_shorter_than_its_length(untouched: Server) -> None:
    with Client(untouched.port) as client:
        client.request("POST", "/chat", b'{"message": 1}',
                       [("Content-Type", "application/json"), ("Content-Length", "50")])
        client.sock.shutdown(1)
        assert client.answer().status == 400


CONFLICTS = [
    [("Content-Length", "14"), ("Content-Length", "15")],
    [("Content-Length", "14"), ("Transfer-Encoding", "chunked")],
    [("Content-Length", "-1")],
    [("Content-Length", "+14")],
    [("Content-Length", "14, 14")],
    [("Content-Length", "abc")],
    [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
    [("Transfer-Encoding", "chunked, identity")],
]


@pytest.mark.parametrize("lengths", CONFLICTS, ids=repr)
def test_conflicting_lengths(untouched: Server, lengths: list[tuple[str, str]]) -> None:
    with Client(untouched.port) as client:
        client.request("POST", "/chat", b'{"message": 1}', [("Content-Type", "application/json"), *lengths])
        assert client.answer().status in {400, 501}
        assert client.closed_by_server(5)


def test_a_smuggled_request_is_not_served(untouched: Server) -> None:
    inner = (b"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
             b'Content-Length: 14\r\n\r\n{"message": 1}')
    with Client(untouched.port) as client:
        client.request("POST", "/chat", b"0\r\n\r\n" + inner,
                       [("Content-Type", "application/json"), ("Content-Length", str(5 + len(inner))),
                        ("Transfer-Encoding", "chunked")])
        assert client.answer().status == 400
        assert client.closed_by_server(5)


def test_a_flood_of_headers(untouched: Server) -> None:
    for headers in ([(f"X-{n}", "v") for n in range(5000)], [("X-Long", "v" * 1_000_000)]):
        with Client(untouched.port) as client:
            client.send(b"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            for name, value in headers:
                client.flood(f"{name}: {value}\r\n".encode(), 1)
            client.flood(b"\r\n", 1)
            assert client.answer().status in {400, 431}
            assert client.closed_by_server(5)


# Credentials


@pytest.fixture(scope="module")
def lazy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve("lazy", tmp_path_factory.mktemp("lazy"), TOKEN="the-server-s-own-token") as running:
        yield running


@pytest.mark.parametrize("headers", [
    [],
    [("X-Appbuilder-Token", "")],
    [("X-Appbuilder-Token", "  ")],
    [("X-Appbuilder-Token", "a"), ("X-Appbuilder-Token", "b")],
    [("X-Appbuilder-Token", "a"), ("X-Appbuilder-Token", "a")],
    [("X-Appbuilder-Token", "a"), ("X-Appbuilder-Authorization", "Bearer b")],
    [("X-Appbuilder-Authorization", "")],
    [("X-Appbuilder-Authorization", "Bearer ")],
    [("X-Appbuilder-Authorization", "Bearer")],
    [("X-Appbuilder-Token", "caf\udcff")],
    [("Authorization", "Bearer a")],
], ids=repr)
@pytest.mark.parametrize("stream", [False, True])
def test_a_token_that_is_missing_empty_or_doubled(
    lazy: Server, headers: list[tuple[str, str]], stream: bool
) -> None:
    before = probe(lazy)["all"]
    check(rawhttp.chat(lazy.port, {**GOOD, "stream": stream}, headers), 401)
    assert probe(lazy)["all"] == before


def test_each_request_has_its_own_token(lazy: Server) -> None:
    for header, value in (("X-Appbuilder-Token", "mine"), ("X-Appbuilder-Authorization", "Bearer mine")):
        assert rawhttp.chat(lazy.port, GOOD, {header: value}).content == "Bearer mine"


# Components that misbehave


KINDS = ["ValueError", "KeyError", "OSError", "MemoryError", "AssertionError", "SystemExit", "RecursionError",
         "BaseException", "KeyboardInterrupt", "GeneratorExit", "StopIteration", "code200", "codefunction",
         "codetext"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("where", ["fail", "fail_inside"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_component_that_raises_anything(server: Server, kind: str, where: str, stream: bool) -> None:
    body = {"message": {"do": where, "kind": kind, "mark": f"{kind}-{where}"}, "stream": stream}
    said = check(rawhttp.chat(server.port, body), 503 if kind == "MemoryError" else 500)
    assert "secret-of-the-component" not in json.dumps(said)
    assert appended(f"sqlite:///{server.folder}/chat.db", "request_id = :r", r=said["request_id"]) == []
    assert rawhttp.chat(server.port, GOOD).content == "good"
    # The developer finds it in the log, under the request's id.
    eventually(lambda: said["request_id"] in server.log and "secret-of-the-component" in server.log)


def test_a_component_that_returns_nothing(server: Server) -> None:
    for stream in (False, True):
        check(rawhttp.chat(server.port, {"message": {"do": "nothing"}, "stream": stream}), 500)


def test_an_answer_json_has_no_form_for(server: Server) -> None:
    content = rawhttp.chat(server.port, {"message": {"do": "unprintable"}}).content
    assert content["set"] == [1]
    assert content["nan"] is None
    assert content["big"] == 2**80
    assert content["half"] == "\ufffd"


def test_an_answer_that_is_neither_text_nor_json(server: Server) -> None:
    for stream in (False, True):
        said = check(rawhttp.chat(server.port, {"message": {"do": "opaque"}, "stream": stream}), 500)
        assert "with what a user said" not in json.dumps(said)
    eventually(lambda: "scripted.Opaque is neither text" in server.log)
    assert "with what a user said" not in server.log


def test_odd_pieces_are_valid_events(server: Server) -> None:
    with Client(server.port) as client:
        client.post({"message": {"do": "odd", "mark": "odd"}, "stream": True, "session_id": "odd"})
        assert client.head().status == 200
        blocks = list(client.raw_events())
    for block in blocks:
        assert b"\n" not in block
        assert block.startswith(b"data: ")
        assert b"\r" not in block
        assert len(block.decode().splitlines()) == 1, "iter_lines of httpx and requests cuts at U+2028"
    events = [json.loads(block[6:]) for block in blocks]
    contents = [event["result"]["answer_message"].get("content") for event in events]
    assert contents[:6] == ["", "bytes\ufffd", "\n\ndata: {}\n\n", "\r", "\u2028\u2029", "\x00"]
    assert contents[-5:] == [{"a": [1, None]}, 7, "in a message", "", ""]
    # Half a pair waits for the next piece, and a piece that is too long leaves as several.
    assert "".join(contents[6:-5]) == "\ufffd" + "x" * 2_000_000
    whole = rawhttp.chat(server.port, {"message": {"do": "odd", "mark": "odd"}}).content
    kept = rows(f"sqlite:///{server.folder}/chat.db", "session_id = 'odd' AND message_key = 'answer'")
    assert kept[0]["message_value"]["content"] == whole
    assert whole.startswith("bytes\ufffd\n\ndata: {}\n\n\r\u2028\u2029")


def test_html_stays_text(server: Server) -> None:
    text = "<script>alert(1)</script>"
    answer = rawhttp.chat(server.port, {"message": text})
    assert answer.content == text
    assert answer.header("Content-Type") == "application/json"
