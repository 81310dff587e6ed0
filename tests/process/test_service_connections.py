"""P12 on the service's own server: slow, silent, stuck and too many clients; open files."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.process import rawhttp
from tests.process.rawhttp import Client
from tests.process.server import Server, start
from tests.process.serving import SERVICE, command, eventually, free_port, probe, serve, settings, workers

HEAD = b"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
SENDING, UNREAD = 1.0, 2.0
"""Seconds for a request to arrive, and for something of an answer to be read."""
IDLE, STREAMS, TRIVIAL = 2000, 1000, 1.0


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve("scripted", tmp_path_factory.mktemp("strict"), SERVICE, BODY_TIMEOUT=str(SENDING),
               WRITE_TIMEOUT=str(UNREAD), HEARTBEAT="0.2", FIRST_PIECE_WAIT="0.2",
               MAX_ANSWER=str(16 * 1024 * 1024)) as running:
        yield running


def cut_after(clients: list[Client], begun: float) -> float:
    """Seconds until the first of *clients* is cut; the others are, too."""
    assert rawhttp.readable(clients, 30)
    took = time.monotonic() - begun
    for client in clients:
        assert client.closed_by_server(30)
    return took


def test_who_does_not_send_a_request_in_time_is_cut(strict: Server) -> None:
    begun = time.monotonic()
    with rawhttp.clients(strict.port, 5, timeout=60) as (kept, kept_head, silent, head, body):
        for client in (kept, kept_head):
            assert client.chat({"message": "one"}).content == "one"
        kept_head.send(HEAD)
        head.send(HEAD)
        body.send(HEAD + b"Content-Length: 14\r\n\r\n{")
        assert cut_after([silent, head, body, kept_head], begun) >= SENDING
        # A connection may rest between two requests; only a request that has begun has to arrive.
        assert kept.chat({"message": "two"}).content == "two"


def test_who_drips_is_cut_as_well(strict: Server) -> None:
    with rawhttp.clients(strict.port, 2) as (head, body):
        begun = time.monotonic()
        head.send(HEAD + b"X-Long: ")
        body.send(HEAD + b"Content-Length: 5000\r\n\r\n")
        while not rawhttp.readable([head, body], 0.02):
            head.send(b"v")
            body.send(b" ")
            assert time.monotonic() - begun < 30
        assert time.monotonic() - begun >= SENDING
        assert head.closed_by_server(30)
        assert body.closed_by_server(30)


@pytest.mark.parametrize("flood", [b"X-Long: " + b"v" * 70_000, b"X: v\r\n" * 12_000], ids=["long", "many"])
def test_endless_headers_are_refused(strict: Server, flood: bytes) -> None:
    with Client(strict.port) as client:
        client.send(HEAD + flood)
        answer = client.answer()
        assert (answer.status, answer.header("Connection")) == (431, "close")
        assert client.closed_by_server(30)


@pytest.mark.parametrize(
    "flood",
    [
        HEAD + b"X-Long: " + b"v" * 100_000 + b"\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"X-A: %b\r\n" % (b"v" * 900) * 100 + b"Content-Length: 2\r\n\r\n{}",
        HEAD.replace(b"/chat", b"/chat?" + b"q" * 100_000) + b"Content-Length: 2\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;x=%b\r\n{}\r\n" % (b"e" * 200_000),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{ \r\n0\r\nX-Trailer: " + b"t" * 200_000,
    ],
    ids=["field", "fields", "address", "chunk extension", "trailer"],
)
def test_large_headers_are_refused_however_they_arrive(strict: Server, flood: bytes) -> None:
    with Client(strict.port) as client:
        client.send(flood)
        assert client.answer().status == 431
        assert client.closed_by_server(30)
    # Many on one connection are none too large.
    with Client(strict.port) as client:
        for _ in range(3):
            assert client.chat({"message": "m"}, [("X-Long", "v" * 60_000)]).status == 200


def test_trailers_are_no_headers(strict: Server) -> None:
    trailer = b"0\r\nX-Appbuilder-Request-Id: from-a-trailer\r\n\r\n"
    body = b'{"message": "m"}'
    with Client(strict.port) as client:
        client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body) + trailer)
        answer = client.answer()
    assert answer.status == 200
    assert answer.header("X-Appbuilder-Request-Id") != "from-a-trailer"


@pytest.mark.parametrize(("fields", "status"), [(150, 200), (201, 400)])
def test_many_headers(strict: Server, fields: int, status: int) -> None:
    more = [(f"X-{number}", "v") for number in range(fields)]
    assert rawhttp.chat(strict.port, {"message": "m"}, more).status == status


@pytest.mark.parametrize("streamed", [b"true", b"false"])
def test_an_old_client_reads_to_the_end(strict: Server, streamed: bytes) -> None:
    body = b'{"message": {"do": "say", "pieces": ["a", "b"]}, "stream": %b}' % streamed
    with Client(strict.port) as client:
        client.send(HEAD.replace(b"1.1", b"1.0") + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        head, _, said = b"".join(iter(lambda: client.sock.recv(65536), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"transfer-encoding" not in head.lower()
    lines = said.splitlines() if streamed == b"true" else [b"data: " + said]
    events = [json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]
    assert "".join(event["result"]["answer_message"]["content"] for event in events) == "ab"


def test_who_sends_too_much_is_told_whenever_he_reads(strict: Server) -> None:
    with Client(strict.port) as client:
        client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(400):
            client.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        assert client.answer().status == 413
        assert client.closed_by_server(30)


def test_who_goes_on_sending_after_his_answer_is_cut(tmp_path: Path) -> None:
    with (
        serve("scripted", tmp_path, SERVICE, MAX_BODY="1000") as server,
        rawhttp.clients(server.port, 2) as both,
    ):
        for client in both:
            client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001)
            assert client.answer().status == 413
        much, long = both
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < 1_000_000_000:
                much.send(b"x" * 1_000_000)
                sent += 1_000_000

        def is_cut() -> bool:
            try:
                long.send(b"x")
            except ConnectionError:
                return True
            return False

        eventually(is_cut)


def test_who_reads_nothing_is_cut_and_who_reads_slowly_is_not(strict: Server) -> None:
    message = {"do": "many", "piece": "x" * 50_000, "count": 200, "keep": False}
    with rawhttp.clients(strict.port, 2, receive_buffer=4096, timeout=60) as (stuck, slow):
        stuck.post({"message": {**message, "mark": "stuck", "hold": True}, "stream": True})
        slow.post({"message": message, "stream": True})
        begun, read = time.monotonic(), 0
        # At this pace the answer takes far longer than the time in which something has to be read.
        while time.monotonic() - begun < 2 * UNREAD:
            read += len(slow.sock.recv(20_000))
            time.sleep(0.05)
        eventually(lambda: probe(strict, "stuck")["closed"] == 1, 30)
        while part := slow.sock.recv(1_000_000):
            read += len(part)
            if part.endswith(b"0\r\n\r\n"):
                break
        assert stuck.closed_by_server(30)
    assert read > 200 * 50_000


def test_more_connections_than_the_limit_are_refused(tmp_path: Path) -> None:
    with serve("scripted", tmp_path, SERVICE, MAX_CONNECTIONS="5") as server, ExitStack() as stack:
        def come() -> Client:
            return stack.enter_context(Client(server.port))

        first = come()
        assert first.chat({"message": "first"}).content == "first"
        others = [come() for _ in range(4)]
        assert [client.chat({"message": "all"}).status for client in others] == [200] * 4
        refused = come().chat({"message": "sixth"})
        assert (refused.status, refused.json["code"], refused.json["result"]) == (503, 503, None)
        assert int(refused.header("Retry-After") or 0) >= 1
        assert refused.header("x-request-id") == refused.json["request_id"]
        seventh = come()
        seventh.post({}, path="/v1/responses")
        openai = seventh.answer()
        assert (openai.status, openai.json["error"]["type"]) == (503, "server_error")
        assert openai.header("x-request-id") == openai.json["error"]["request_id"]
        others[0].fin()
        eventually(lambda: come().chat({"message": "again"}).status == 200)


def test_as_many_files_may_be_open_as_the_system_lets_it(tmp_path: Path) -> None:
    port = free_port()
    few = ["prlimit", "--nofile=200:3000", *command("scripted", port, SERVICE)]
    with start(tmp_path, few, port=port, env=settings(tmp_path)) as server, ExitStack() as stack:
        (pid,) = workers(server)
        limits = Path(f"/proc/{pid}/limits").read_text()
        (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
        assert line.split()[3:5] == ["3000", "3000"]
        for _ in range(300):
            client = stack.enter_context(Client(server.port))
        assert client.chat({"message": "the last"}).content == "the last"


@pytest.fixture
def many_files() -> Iterator[None]:
    """This process may have a file open for each client."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_thousands_of_idle_connections_and_streams_starve_nobody(tmp_path: Path, many_files: None) -> None:
    message = {"do": "say", "pieces": ["begun"], "hold": True, "mark": "idle"}
    given = {"MAX_TURNS": str(STREAMS + 100), "BODY_TIMEOUT": "600", "HEARTBEAT": "2"}
    with serve("scripted", tmp_path, SERVICE, **given) as server, ExitStack() as stack:
        for _ in range(IDLE):
            stack.enter_context(Client(server.port))
        streams = [stack.enter_context(Client(server.port, timeout=60)) for _ in range(STREAMS)]
        for stream in streams:
            stream.post({"message": message, "stream": True})
        for stream in streams:
            assert stream.head().status == 200
        assert probe(server, "idle")["calls"] == STREAMS
        took = []
        for number in range(20):
            begun = time.monotonic()
            assert rawhttp.chat(server.port, {"message": str(number)}).content == str(number)
            took.append(time.monotonic() - begun)
        assert sorted(took)[len(took) // 2] < TRIVIAL
        for stream in streams:
            stream.close()
        eventually(lambda: probe(server, "idle")["closed"] == STREAMS, 60)
