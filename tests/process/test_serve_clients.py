"""Clients that are slow, gone, too loud or contradict themselves, at each kind of server ``serve`` starts."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.process.server import JSON_HEADERS, Server
from tests.process.talk import KINDS, rows, serve, until, words

BODY_TIMEOUT = 1.5
MAX_BODY = 100_000
HEAD = b"POST /chat HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients")
    with serve(
        folder,
        request.param,
        APPBUILDER_BODY_TIMEOUT=str(BODY_TIMEOUT),
        APPBUILDER_WRITE_TIMEOUT="1",
        APPBUILDER_MAX_BODY=str(MAX_BODY),
    ) as running:
        running.kind = request.param
        yield running


def everything(connection: socket.socket) -> bytes:
    """What the server sends until it closes; a reset counts as the end."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def raw(server: Server, data: bytes) -> bytes:
    """The answer to *data*, up to the end of the connection, which must come."""
    with server.connect(10) as connection:
        connection.sendall(data)
        return everything(connection)


def test_slow_senders_stop_nobody_and_are_cut(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        heads = [stack.enter_context(server.connect()) for _ in range(150)]
        bodies = [stack.enter_context(server.connect()) for _ in range(50)]
        for connection in heads:
            connection.sendall(b"POST /chat HTTP/1.1\r\nX-Slow: ")
        for connection in bodies:
            connection.sendall(HEAD + b'Content-Length: 1000\r\n\r\n{"message": "')
        begun, stop = time.monotonic(), threading.Event()

        def drip() -> None:
            while not stop.wait(0.2):
                for connection in heads + bodies:
                    with contextlib.suppress(OSError):
                        connection.sendall(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            for _ in range(5):
                asked = time.monotonic()
                assert server.chat("a", n=1).content == "a0 "
                assert time.monotonic() - asked < 1
            for connection in heads:
                everything(connection)
            for connection in bodies:
                answer = everything(connection)
                assert not answer or b" 400 " in answer.splitlines()[0]
        finally:
            stop.set()
            dripping.join()
    assert time.monotonic() - begun < BODY_TIMEOUT + 8


def test_a_connection_that_says_nothing_is_closed(server: Server) -> None:
    if server.kind == "gthread":
        return  # gunicorn's own doing, after 5 s and the 15 s of any idle connection
    begun = time.monotonic()
    assert raw(server, b"") == b""
    assert time.monotonic() - begun < BODY_TIMEOUT + 2


def test_who_does_not_read_is_cut(server: Server) -> None:
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = json.dumps({"message": "unread", "stream": True, "n": 5000, "size": 5000}).encode()
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        until(lambda: "unread" in server.chat("closed?").content)


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_who_leaves_ends_the_turn(server: Server, how: str) -> None:
    text = f"left by {how}"
    with server.stream(text, n=10_000, wait=0.05) as events:
        next(events)
        if how == "RST":
            events.reset()
    until(lambda: text in server.chat("closed?").content)
    until(lambda: (text + "0 ") in "".join(str(content) for content, _ in rows(server.folder, "answer")))
    [(content, state)] = [row for row in rows(server.folder, "answer") if text in str(row[0])]
    assert state == "incomplete"
    assert len(content) < 100 * len(text)


def test_clients_that_keep_a_closed_connection_stop_nobody(server: Server) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(server.connect())
            connection.sendall(request)
            assert connection.recv(12) == b"HTTP/1.1 200"
        begun = time.monotonic()
        assert server.request("GET", "/health").status == 200
        assert time.monotonic() - begun < 1


def test_a_huge_body_is_refused_in_bounded_memory(server: Server) -> None:
    before = server.chat("memory?").content
    chunk = b"%X\r\n%b\r\n" % (1 << 20, b"x" * (1 << 20))
    with server.connect(10) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                connection.sendall(chunk)
        answer = everything(connection)
    assert not answer or answer.startswith(b"HTTP/1.1 413")
    assert server.chat("memory?").content - before < 30_000  # kilobytes


@pytest.mark.parametrize("framing", [b"Content-Length: 300000", b"Transfer-Encoding: chunked"])
def test_too_large_is_413_and_closed(server: Server, framing: bytes) -> None:
    sent = b"x" * 300_000
    if b"chunked" in framing:
        sent = b"%X\r\n%b\r\n0\r\n\r\n" % (len(sent), sent)
    answer = raw(server, HEAD + framing + b"\r\n\r\n" + sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["code"] == 413


BODY = b'{"message": "a"}'
REFUSED = {
    "two lengths": (b"Content-Length: 16\r\nContent-Length: 17\r\n\r\n" + BODY, 400),
    "a length and chunks": (
        b"Content-Length: 16\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n" + BODY + b"\r\n0\r\n\r\n", 400
    ),
    "a negative length": (b"Content-Length: -1\r\n\r\n" + BODY, 400),
    "a length that is none": (b"Content-Length: 0x10\r\n\r\n" + BODY, 400),
    "another coding": (b"Transfer-Encoding: gzip\r\n\r\n" + BODY, (400, 501)),
    "a chunk that is none": (b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n" + BODY + b"\r\n0\r\n\r\n", 400),
    "a chunk's line without end": (b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 200_000, 400),
    "a header without end": (b"X: " + b"x" * 200_000 + b"\r\n\r\n", (400, 431)),
    "many headers": (b"".join(b"X-%d: x\r\n" % n for n in range(500)) + b"\r\n", 431),
    "a header that is none": (b"X-Appbuilder-Token the-secret-canary\r\n\r\n", 400),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_http_is_refused_and_closed(server: Server, what: str) -> None:
    data, status = REFUSED[what]
    if what == "a header that is none" and server.kind == "threaded":
        status = (400, 415)  # http.server takes it as the end of the head
    answer = raw(server, HEAD + data)
    assert answer, "the answer was lost"
    assert int(answer.split()[1]) in (status if isinstance(status, tuple) else (status,))
    assert b"answer_message" not in answer
    assert "canary" not in server.log


def test_one_connection_for_several_requests(server: Server) -> None:
    with contextlib.closing(server.open()) as connection:
        for text in "abc":
            connection.request("POST", "/chat", json.dumps({"message": text, "n": 1}), JSON_HEADERS)
            answer = json.load(connection.getresponse())
            assert answer["result"]["answer_message"]["content"] == f"{text}0 "


def test_an_old_client_reads_a_stream_to_the_end_of_the_connection(server: Server) -> None:
    body = b'{"message": "a", "stream": true}'
    head = HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Content-Length: %d\r\n\r\n" % len(body)
    head, _, events = raw(server, head + body).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    texts = [json.loads(line[5:])["result"]["answer_message"]["content"]
             for line in events.split(b"\n\n") if line.startswith(b"data:")]
    assert texts == words("a", 3)


def test_a_client_that_asks_before_it_sends(server: Server) -> None:
    with server.connect(10) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 16\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert everything(connection).startswith(b"HTTP/1.1 200")


def test_head_has_no_body(server: Server) -> None:
    with contextlib.closing(server.open()) as connection:
        connection.request("HEAD", "/health")
        answer: http.client.HTTPResponse = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")


def test_a_client_that_resets_at_once_is_no_error(server: Server) -> None:
    for _ in range(10):
        with server.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(HEAD + b"Content-Length: 16\r\n\r\n" + BODY[:5])
    assert server.chat("a").status == 200
    assert "Traceback" not in server.log


def test_the_log_of_it_all_is_short(server: Server, tmp_path: Path) -> None:
    """Last: what all these clients did is nobody's error but theirs."""
    assert "Traceback" not in server.log
    assert len(server.log.splitlines()) < 5
