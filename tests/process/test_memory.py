"""What one caller sends or leaves unread takes a bounded part of the memory, and nobody else's time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.process import rawhttp
from tests.process.rawhttp import Answer, Client
from tests.process.server import Server
from tests.process.serving import BOTH, eventually, resident, run_program, workers

MIB = 1024 * 1024
MOST = 256 * MIB
"""Bytes that one caller's requests may take."""
TRIVIAL = 3.0
"""Seconds: the promise is one, of a machine that has nothing else to do."""
GREEDY = [("X-User", "greedy")]
OTHER = [("X-User", "other")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("memory")
    with run_program("memory", folder, AUTH="hook", WRITE_TIMEOUT="600") as running:
        rawhttp.chat(running.port, {"message": "warm"}, OTHER)
        yield running


@dataclass
class Seen:
    """What came of it: seconds of another caller's requests, and the most memory."""

    seconds: list[float] = field(default_factory=list)
    most: int = 0


@contextmanager
def watched(server: Server) -> Iterator[Seen]:
    """Another caller asks again and again meanwhile; the process must survive."""
    seen, over = Seen(), threading.Event()
    pid = server.process.pid
    before = resident(pid)

    def ask() -> None:
        while not over.is_set():
            begun = time.monotonic()
            answer = rawhttp.chat(server.port, {"message": "trivial"}, OTHER, timeout=60)
            assert answer.content == "trivial"
            seen.seconds.append(time.monotonic() - begun)

    def look() -> None:
        while not over.wait(0.02):
            seen.most = max(seen.most, resident(pid) - before)

    with ThreadPoolExecutor(2) as threads:
        asking = [threads.submit(ask), threads.submit(look)]
        try:
            yield seen
        finally:
            over.set()
        for each in asking:
            each.result()
    assert max(seen.seconds) < TRIVIAL
    assert seen.most < MOST
    assert server.process.poll() is None


def post(server: Server, body: bytes, path: str = "/chat") -> Answer:
    with Client(server.port, timeout=120) as client:
        kind = ("Content-Type", "application/json")
        client.request("POST", path, body, [kind, *GREEDY])
        return client.answer()


DENSE = {
    "lists": b"[" + b"[]," * 1_300_000 + b"1]",
    "numbers": b"[" + b"1," * 1_900_000 + b"1]",
    "members": b"{" + b",".join(b'"%d":1' % number for number in range(300_000)) + b"}",
    "brackets": b"[" * 190_000 + b"]" * 190_000,
}


@pytest.mark.parametrize("path", ["/chat", "/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("kind", DENSE)
def test_a_body_of_many_values_is_refused_at_once(server: Server, kind: str, path: str) -> None:
    body = b'{"message":' + DENSE[kind] + b"}"
    with watched(server), ThreadPoolExecutor(4) as threads:
        for answer in threads.map(lambda _: post(server, body, path), range(8)):
            assert answer.status == 400


def test_bodies_of_as_many_values_as_are_taken(server: Server) -> None:
    body = b'{"message":[' + b"[]," * 99_000 + b"1]}"
    with watched(server), ThreadPoolExecutor(4) as threads:
        for answer in threads.map(lambda _: post(server, body), range(8)):
            assert answer.status in (200, 429)


def test_many_large_messages_at_once(server: Server) -> None:
    body = json.dumps({"message": "x" * 4_000_000}).encode()
    with watched(server), ThreadPoolExecutor(60) as threads:
        answers = list(threads.map(lambda _: post(server, body), range(60)))
    assert {answer.status for answer in answers} == {200, 429}
    assert all(answer.header("Retry-After") for answer in answers if answer.status == 429)
    eventually(lambda: post(server, body).status == 200)


def test_streams_that_nobody_reads(server: Server) -> None:
    message = {"pieces": 200, "size": 100_000}
    with watched(server) as seen, ExitStack() as stack:
        for _ in range(30):
            reader = stack.enter_context(Client(server.port, receive_buffer=4096))
            reader.post({"message": message, "stream": True}, GREEDY)
        count = len(seen.seconds)
        eventually(lambda: len(seen.seconds) > count + 20, timeout=60)
        other = rawhttp.stream(server.port, {"message": {"pieces": 20, "size": 1000}, "stream": True}, OTHER)
        assert len(rawhttp.text_of(other)) == 20_000


def test_whole_answers_that_nobody_reads(server: Server) -> None:
    message = {"pieces": 1, "size": 8 * MIB, "whole": True}
    with watched(server) as seen, ExitStack() as stack:
        for _ in range(30):
            reader = stack.enter_context(Client(server.port, receive_buffer=4096))
            reader.post({"message": message}, GREEDY)
        count = len(seen.seconds)
        eventually(lambda: len(seen.seconds) > count + 20, timeout=60)
    eventually(lambda: rawhttp.chat(server.port, {"message": message}, GREEDY, 60).status == 200, timeout=30)


def test_an_answer_beyond_the_limit_ends_with_an_error(server: Server) -> None:
    events = rawhttp.stream(
        server.port, {"message": {"pieces": 200, "size": 100_000}, "stream": True}, GREEDY, 60
    )
    assert events[-1]["code"] == 500
    assert "limit" in events[-1]["message"]
    assert len(events) == 8 * MIB // 100_000 + 1


def test_a_body_in_chunks_of_one_byte(server: Server) -> None:
    body = json.dumps({"message": "x" * 300_000}).encode()
    chunked = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    head = (b"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nX-User: greedy\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    with watched(server), Client(server.port, timeout=60) as client:
        client.send(head + chunked)
        assert client.answer().status == 200


@pytest.mark.parametrize("worker_class", BOTH)
def test_flask_runtime_has_the_limits_of_a_process(tmp_path: Path, worker_class: str) -> None:
    budget = 64 * MIB
    with run_program("memory", tmp_path, SERVE_BY="flask", WORKER_CLASS=worker_class,
                     MAX_IN_FLIGHT=str(budget), FIRST_PIECE_WAIT="0.2") as server:
        (pid,) = workers(server)
        for dense in DENSE.values():
            assert post(server, b'{"message":' + dense + b"}").status == 400
        before = resident(pid)
        message = {"pieces": 200, "size": 100_000}
        with ExitStack() as stack:
            for _ in range(30):
                reader = stack.enter_context(Client(server.port, receive_buffer=4096))
                reader.post({"message": message, "stream": True})
            for _ in range(20):
                assert rawhttp.chat(server.port, {"message": "trivial"}, timeout=60).content == "trivial"
            assert resident(pid) - before < MOST
        large = json.dumps({"message": "x" * 4_000_000}).encode()
        with ThreadPoolExecutor(20) as threads:
            answers = list(threads.map(lambda _: post(server, large), range(20)))
        assert {answer.status for answer in answers} <= {200, 503}
        assert resident(pid) - before < MOST
        events = rawhttp.stream(server.port, {"message": message, "stream": True}, timeout=60)
        assert events[-1]["code"] == 500


def test_no_memory_left_is_an_answer(server: Server) -> None:
    answer = rawhttp.chat(server.port, {"message": "out of memory"}, GREEDY)
    assert answer.status == 503
    assert answer.header("Retry-After")
    assert rawhttp.chat(server.port, {"message": "after"}, GREEDY).content == "after"
