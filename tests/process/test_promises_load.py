"""P12: slow and idle clients starve nobody. P10: the debugger is never beyond loopback."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.process import rawhttp
from tests.process.rawhttp import Client
from tests.process.server import Server
from tests.process.serving import DOORS, SERVICE, eventually, probe, resident, run_program, serve, workers

IDLE = 200
SLOW = 16
TRIVIAL = 10.0
"""Seconds: no measure of speed. A request that waits for an idle stream or a stuck reader waits a minute."""


def served(folder: Path, door: str, **given: str) -> Server:
    """By :meth:`FlaskRuntime.serve`, or the service."""
    if door == SERVICE:
        return serve("scripted", folder, SERVICE, **given)
    return run_program("program", folder, WORKER_CLASS=door, **given)


@pytest.fixture(scope="module", params=DOORS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("load"), request.param, FIRST_PIECE_WAIT="0.2",
                HEARTBEAT="0.5") as running:
        yield running


def slowest(server: Server) -> float:
    """Seconds of the slowest of some trivial requests."""
    took = []
    for _ in range(20):
        begun = time.monotonic()
        assert rawhttp.chat(server.port, {"message": "trivial"}).content == "trivial"
        took.append(time.monotonic() - begun)
    return max(took)


def test_idle_streams_and_connections_starve_nobody(server: Server) -> None:
    message = {"do": "say", "pieces": ["begun"], "hold": True, "mark": "idle"}
    with ExitStack() as stack:
        for _ in range(IDLE // 2):
            stack.enter_context(Client(server.port))  # says nothing at all
        streams = [stack.enter_context(Client(server.port)) for _ in range(IDLE)]
        for stream in streams:
            stream.post({"message": message, "stream": True})
        for stream in streams:
            assert stream.head().status == 200
        eventually(lambda: probe(server, "idle")["calls"] == IDLE)
        assert slowest(server) < TRIVIAL
    eventually(lambda: probe(server, "idle")["closed"] == IDLE, timeout=20)


def test_readers_that_do_not_read_starve_nobody(server: Server) -> None:
    message = {"do": "many", "piece": "x" * 50_000, "count": 100, "mark": "slow", "keep": False}
    (pid,) = workers(server)
    before = resident(pid)
    with rawhttp.clients(server.port, SLOW, receive_buffer=4096) as readers:
        for reader in readers:
            reader.post({"message": message, "stream": True})
        eventually(lambda: probe(server, "slow")["calls"] == SLOW)
        assert slowest(server) < TRIVIAL
        assert rawhttp.get(server.port, "/health").status == 200
        grown = resident(pid) - before
    # Five million bytes each, kept as pieces, as text and as events: bounded by what was answered.
    assert grown < 5 * SLOW * 5_000_000
    eventually(lambda: probe(server, "slow")["closed"] == SLOW, timeout=20)
    assert slowest(server) < TRIVIAL


def test_slow_readers_get_all_of_it(server: Server) -> None:
    message = {"do": "many", "piece": "x" * 50_000, "count": 20, "mark": "all"}
    with rawhttp.clients(server.port, 4, receive_buffer=4096) as readers:
        for reader in readers:
            reader.post({"message": message, "stream": True})
        for reader in readers:
            assert reader.head().status == 200
            assert rawhttp.text_of(list(reader.events())) == "x" * 1_000_000


@pytest.mark.parametrize("worker", DOORS)
def test_slow_senders_are_cut(tmp_path: Path, worker: str) -> None:
    head = (b"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 14\r\n\r\n")
    with served(tmp_path, worker, BODY_TIMEOUT="1") as server:
        with Client(server.port) as slow_head, Client(server.port) as slow_body:
            slow_body.send(head)
            begun = time.monotonic()
            for number in range(80):
                if rawhttp.readable([slow_head, slow_body], 0.05):
                    break
                slow_head.send(head[number : number + 1])
                slow_body.send(b'{"message":  '[number : number + 1])
            assert 0.9 < time.monotonic() - begun < 3
            assert slow_head.closed_by_server(5)
            assert slow_body.closed_by_server(5)
        assert probe(server)["all"] == 0
        assert rawhttp.chat(server.port, {"message": "after"}).status == 200


@pytest.mark.parametrize(("host", "debugger"), [("127.0.0.1", True), ("0.0.0.0", False)])
def test_the_debugger_is_for_loopback_only(tmp_path: Path, host: str, debugger: bool) -> None:
    with run_program("program", tmp_path, SERVE_DEBUG="yes", SERVE_HOST=host) as server:
        resource = "/?__debugger__=yes&cmd=resource&f=debugger.js"
        assert (rawhttp.get(server.port, resource).status == 200) is debugger
        for path in ("/console", "/?__debugger__=yes&cmd=pinauth&pin=1&s=1"):
            assert b"console" not in rawhttp.get(server.port, path).body.lower() or debugger
        failed = rawhttp.chat(server.port, {"message": {"do": "fail", "kind": "OSError"}})
        assert failed.status == 500
        assert failed.header("Content-Type") == "application/json"
        assert "Traceback" in failed.json["traceback"]
        assert b"__debugger__" not in failed.body


def test_nothing_of_debug_without_debug(server: Server) -> None:
    failed = rawhttp.chat(server.port, {"message": {"do": "fail", "kind": "OSError"}})
    assert failed.json.keys() == {"code", "message", "request_id", "result"}
    for path in ("/console", "/?__debugger__=yes&cmd=resource&f=debugger.js"):
        assert rawhttp.get(server.port, path).status == 404
