"""P10 on every route of the service: what its document allows is taken, all else is refused in its words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from tests.process.rawhttp import JSON, Answer, Client
from tests.process.server import Server
from tests.process.serving import resident, run_program

from appbuilder.protocols.openapi import documents

HERE = ("Host", "localhost")
LIMIT = 100_000
INSIDE = ("Traceback", 'File "', "/site-packages/", "appbuilder.", "sqlite", "SELECT", "starlette")
SAID = {"message": "good"}
EXAMPLES = {"/chat": 30, "/sessions": 15, "/sessions/{session_id}": 15}


def operations() -> list[str]:
    paths = documents.service_document("x")["paths"]
    return [f"{method.upper()} {path}" for path, item in paths.items() for method in item]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("service")
    with run_program("anything_service", folder, PAGE="no", MAX_BODY=str(LIMIT)) as running:
        yield running


@pytest.fixture(scope="module")
def schema(server: Server) -> Any:
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")


def is_good(method: str, path: str, query: dict[str, Any]) -> bool:
    """What a schema cannot say: cursors are what was given out, and an owner is named one way."""
    ways = len(query.keys() & {"user", "owner", "all"})
    needed = (method, path) == ("DELETE", "/sessions")
    return "cursor" not in query and (ways == 1 if needed else ways < 2)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", [each for each in operations() if not each.endswith("/import")])
def test_any_request(schema: Any, operation: str, mode: GenerationMode) -> None:
    """Every check schemathesis has: no 5xx, documented statuses and types, bad data refused, good taken.

    It has no way to write JSON Lines.
    """
    method, path = operation.split()
    cases = schema[path][method].as_strategy(generation_mode=mode)

    @settings(max_examples=EXAMPLES.get(path, 5), deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(cases)
    def ask(case: Any) -> None:
        assume(mode is GenerationMode.NEGATIVE or is_good(method, path, case.query or {}))
        case.call_and_validate()

    try:
        ask()
    except Unsatisfiable:  # an address without parameters has no bad requests
        assert (method, mode) == ("GET", GenerationMode.NEGATIVE)


def check(answer: Answer, *statuses: int) -> Any:
    """An error in the envelope, with its true status, that tells nothing of the inside."""
    assert answer.status in statuses, (answer.status, answer.body[:500])
    assert (answer.header("Content-Type") or "").startswith("application/json")
    body = answer.json
    assert body.keys() == {"code", "message", "request_id", "result"}
    assert (body["code"], body["result"]) == (answer.status, None)
    assert answer.header("X-Appbuilder-Request-Id") == body["request_id"]
    for word in INSIDE:
        assert word not in body["message"]
    return body["message"]


def ask(server: Server, method: str, path: str, body: bytes = b"", kind: str = "") -> Answer:
    with Client(server.port) as client:
        client.request(method, path, body, [HERE, *([("Content-Type", kind)] if kind else [])])
        return client.answer()


@pytest.fixture(scope="module")
def session(server: Server) -> str:
    answer = ask(server, "POST", "/chat", json.dumps(SAID).encode(), JSON)
    return str(answer.result["session_id"])


BODIES = [
    b"", b"null", b"[]", b'"x"', b'{"a": ', b"{}{}", b'{"a": "\xff"}', b'\xef\xbb\xbf{}', b'{"a": NaN}',
    b'{"a": 1e400}', b'{"a": ' + b"9" * 5000 + b"}", b'{"a": ' + b"[" * 90_000, b'{"a": 1, "a": 2}',
    b'{"a": "\\ud800"}', b'{"a": "\x00"}', b"{'a': 1}",
]
TAKING = [("PATCH", "/sessions/{}"), ("PUT", "/sessions/{}/turns/{}/rating"), ("POST", "/sessions/import")]


@pytest.mark.parametrize(("method", "path"), TAKING)
def test_bad_bodies(server: Server, session: str, method: str, path: str) -> None:
    kind = "application/x-ndjson" if path.endswith("import") else JSON
    where = path.format(session, "x" * 36)
    before = ask(server, "GET", "/sessions?all=true").result
    for body in BODIES:
        check(ask(server, method, where, body, kind), 400)
    for other in ("", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"):
        check(ask(server, method, where, b'{"title": "x"}', other), 415)
    check(ask(server, method, where, b" " * (LIMIT + 1), kind), 413)
    assert ask(server, "GET", "/sessions?all=true").result == before


def test_a_large_file_in_bounded_memory(server: Server) -> None:
    before = resident(server.process.pid)
    with Client(server.port) as client:
        client.request("POST", "/sessions/import", headers=[
            HERE, ("Content-Type", "application/x-ndjson"), ("Transfer-Encoding", "chunked")])
        client.flood(b"10000\r\n" + b"x" * 65536 + b"\r\n", 100_000_000)
        check(client.answer(), 413)
    assert resident(server.process.pid) - before < 20_000_000


ODD = [
    "%00", "%0a", "%FF", "%ED%A0%80", "x" * 37, "%E5%AD%97" * 37, "a%2Fb", "..%2Fx", "%2e%2e", "'%20OR%201=1",
    "%25", "a%3Fb", "%7Bsession_id%7D", "<script>", "x" * 5000,
]


@pytest.mark.parametrize("odd", ODD)
def test_odd_ids_are_of_nothing(server: Server, odd: str) -> None:
    sent = {"PATCH": b'{"title": "x"}', "PUT": b'{"good": true}'}
    for operation in operations():
        method, path = operation.split()
        if "_id}" in path and not path.startswith("/v1"):
            where = path.replace("{session_id}", odd).replace("{turn_id}", odd).replace("{run_id}", odd)
            kind = JSON if method in sent else ""
            check(ask(server, method, where, sent.get(method, b""), kind), 400, 404)


@pytest.mark.parametrize("query", [
    "limit=0", "limit=101", "limit=x", "limit=", "limit=1e1", "cursor=x", "all=maybe", "cursor=%00", "user=",
    "owner=a&user=b", "search=" + "x" * 301,
])
def test_bad_queries(server: Server, query: str) -> None:
    check(ask(server, "GET", f"/sessions?{query}"), 400)


def test_odd_queries_are_passed_over(server: Server) -> None:
    for query in ("x=1", "%FF=%FF", "limit[]=3", "&&==&", "search=%00%FF", "search=%25_", "search='"):
        assert ask(server, "GET", f"/sessions?{query}").status == 200, query


def test_heads_are_answered_without_a_body(server: Server, session: str) -> None:
    for operation in operations():
        method, path = operation.split()
        if method == "GET" and "{" not in path:
            with Client(server.port) as client:
                client.request("HEAD", path, headers=[HERE])
                client.request("GET", "/health", headers=[HERE])
                assert client.head().status == 200, path
    with Client(server.port) as client:
        client.request("HEAD", f"/sessions/{session}", headers=[HERE])
        assert client.head().status == 200


def test_errors_before_the_component_do_not_reach_it(server: Server, session: str) -> None:
    assert [turn["input"] for turn in ask(server, "GET", f"/sessions/{session}").result["turns"]] == ["good"]
    assert json.loads(ask(server, "GET", "/health").body)["code"] == 0
    assert "Traceback" not in server.log
