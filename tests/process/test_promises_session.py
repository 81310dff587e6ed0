"""P3: one turn at a time in a session; the next waits, up to a limit, then 409. P12: a limit on all turns."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.process import rawhttp
from tests.process.server import Server
from tests.process.serving import DOORS, eventually, probe, serve

QUEUE = 3


@pytest.fixture(scope="module", params=DOORS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("session")
    with serve("scripted", folder, request.param, SESSION_QUEUE=str(QUEUE), MAX_TURNS="12") as running:
        yield running


def hold(server: Server, mark: str, session: str, pool: ThreadPoolExecutor) -> Any:
    """A turn that holds *session* until /open?mark=..."""
    body = {"message": {"do": "gate", "mark": mark}, "session_id": session}
    turn = pool.submit(rawhttp.chat, server.port, body)
    eventually(lambda: probe(server, mark)["calls"])
    return turn


def release(server: Server, mark: str) -> None:
    assert rawhttp.get(server.port, f"/open?mark={mark}").status == 200


def test_turn_n_sees_exactly_the_turns_before_it(server: Server) -> None:
    sessions, each = [f"s{n}" for n in range(3)], 3
    seen: dict[str, list[int]] = {session: [] for session in sessions}

    def client(session: str) -> None:
        with rawhttp.Client(server.port) as mine:
            for turn in range(8):
                body = {"message": {"do": "count"}, "session_id": session}
                if turn % 2:
                    events = mine.stream(body)
                    seen[session].append(int(rawhttp.text_of(events)))
                else:
                    seen[session].append(mine.chat(body).content)

    with ThreadPoolExecutor(len(sessions) * each) as pool:
        list(pool.map(client, sessions * each))
    for session in sessions:
        assert sorted(seen[session]) == list(range(8 * each)), session
    assert probe(server)["overlaps"] == 0


def test_beyond_the_queue_a_turn_is_refused(server: Server) -> None:
    with ThreadPoolExecutor(1) as pool, rawhttp.clients(server.port, QUEUE + 4) as clients:
        first = hold(server, "full", "full", pool)
        for number, client in enumerate(clients):
            client.post({"message": {"do": "echo", "text": "t", "mark": "queued"}, "session_id": "full",
                         "stream": number % 2 == 0})
        answered: list[rawhttp.Client] = []
        while len(answered) < 4:
            ready = rawhttp.readable([client for client in clients if client not in answered], 10)
            assert ready, "a turn beyond the queue was not refused at once"
            answered += ready
        assert not rawhttp.readable([client for client in clients if client not in answered], 0.2)
        for client in answered:
            refused = client.answer()
            assert (refused.status, refused.json["code"], refused.json["result"]) == (409, 409, None)
        assert rawhttp.chat(server.port, {"message": "elsewhere", "session_id": "empty"}).status == 200
        assert probe(server, "queued")["calls"] == 0
        release(server, "full")
        assert first.result().status == 200
        waited = [client.head().status for client in clients if client not in answered]
    assert waited == [200] * QUEUE
    assert eventually(lambda: probe(server, "queued")["calls"] == QUEUE)


def test_more_turns_than_the_limit_are_refused_with_retry_after(server: Server) -> None:
    marks = [f"limit{n}" for n in range(12)]
    with ThreadPoolExecutor(len(marks)) as pool:
        turns = [hold(server, mark, mark, pool) for mark in marks]
        for stream in (False, True):
            refused = rawhttp.chat(server.port, {"message": {"do": "echo", "mark": "13th"}, "stream": stream})
            assert (refused.status, refused.json["code"]) == (503, 503)
            assert int(refused.header("Retry-After") or 0) >= 1
        assert rawhttp.get(server.port, "/health").status == 200
        for mark in marks:
            release(server, mark)
        assert [turn.result().status for turn in turns] == [200] * len(marks)
    assert probe(server, "13th")["calls"] == 0
    assert rawhttp.chat(server.port, {"message": "again"}).status == 200


def test_a_waiting_turn_gives_up_in_time(tmp_path: Path) -> None:
    with serve("scripted", tmp_path, SESSION_WAIT="0.3") as server, ThreadPoolExecutor(1) as pool:
        first = hold(server, "slow", "s", pool)
        for stream in (False, True):
            late = rawhttp.chat(server.port, {"message": {"do": "echo", "mark": "late"}, "session_id": "s",
                                              "stream": stream})
            assert late.status == 409
        release(server, "slow")
        assert first.result().status == 200
        assert probe(server, "late")["calls"] == 0
        assert rawhttp.chat(server.port, {"message": "again", "session_id": "s"}).status == 200


def test_reject_refuses_at_once(tmp_path: Path) -> None:
    with serve("scripted", tmp_path, SESSION_BUSY="reject") as server, ThreadPoolExecutor(1) as pool:
        first = hold(server, "slow", "s", pool)
        assert rawhttp.chat(server.port, {"message": "now", "session_id": "s"}, timeout=5).status == 409
        release(server, "slow")
        assert first.result().status == 200
        assert rawhttp.chat(server.port, {"message": "again", "session_id": "s"}).status == 200
