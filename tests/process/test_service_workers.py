"""P3 across processes: several workers of a service, and several services on one database."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.engine import URL
from tests.process import rawhttp
from tests.process.rawhttp import Client
from tests.process.server import Server
from tests.process.serving import APPS, children, eventually, serve_target
from tests.services.fixtures import empty_database

SHARED = f"{APPS}.shared:Shared"
QUEUE = 3
EACH = 3
"""Clients on each worker."""


@dataclass
class Crowd:
    """A service with several workers, and clients on each of them, by its process id."""

    server: Server
    folder: Path
    count: int
    clients: dict[int, list[Client]]

    def everybody(self) -> list[Client]:
        return [client for clients in self.clients.values() for client in clients]


def reach(server: Server, count: int, stack: contextlib.ExitStack, each: int) -> dict[int, list[Client]]:
    """*each* clients on each of *count* workers; a connection belongs to one of them as long as it lasts."""
    found: defaultdict[int, list[Client]] = defaultdict(list)
    for _ in range(1000):
        client = stack.enter_context(Client(server.port, timeout=60))
        found[client.chat({"message": {"do": "who"}}).content].append(client)
        if len(found) == count and all(len(clients) >= each for clients in found.values()):
            return {pid: clients[:each] for pid, clients in found.items()}
    raise AssertionError(f"not every worker is reached: { {pid: len(each) for pid, each in found.items()} }")


@pytest.fixture(
    scope="module",
    params=[("sqlite", 3), ("postgresql", 2), ("mariadb", 2)],
    ids=lambda each: f"{each[0]}-{each[1]}",
)
def crowd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    kind, count = request.param
    folder = tmp_path_factory.mktemp("workers")
    database = text(empty_database(request, kind, folder))
    given = {"DATABASE": database, "SESSION_QUEUE": str(QUEUE)}
    with (
        serve_target(SHARED, folder, "--workers", str(count), **given) as server,
        contextlib.ExitStack() as stack,
    ):
        assert len(children(server)) == count
        yield Crowd(server, folder, count, reach(server, count, stack, QUEUE + EACH))


def text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def count(session: str, file: Path | None = None, *, stream: bool = False) -> dict[str, Any]:
    message = {"do": "count"} if file is None else {"do": "count", "file": str(file)}
    return {"message": message, "session_id": session, "stream": stream}


def hold(client: Client, session: str, file: Path) -> None:
    """Begins a turn that ends when there is *file*; returns when it has its session."""
    client.post(count(session, file))
    eventually(file.with_name(f"{file.name}.begun").exists, 60)


def run_in(session: str, client: Client) -> Any:
    """The session's run, as the worker tells that the client is connected to."""
    client.request("GET", "/runs")
    runs = client.answer().json["result"]["runs"]
    return next((run for run in runs if run["session_id"] == session), None)


def seen(clients: list[Client], sessions: list[str], turns: int) -> dict[str, list[int]]:
    """What the turns saw that each of *clients* had in each of *sessions*, all at once."""
    found: dict[str, list[int]] = {session: [] for session in sessions}

    def talk(client: Client) -> None:
        for number in range(turns):
            for session in sessions:
                if number % 2:
                    found[session].append(int(rawhttp.text_of(client.stream(count(session)))))
                else:
                    found[session].append(client.chat(count(session)).content)

    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(talk, clients))
    return found


def test_turn_n_sees_exactly_the_turns_before_it(crowd: Crowd) -> None:
    clients = [client for each in crowd.clients.values() for client in each[:EACH]]
    sessions, turns = [str(uuid4()) for _ in range(2)], 4
    for session, found in seen(clients, sessions, turns).items():
        assert sorted(found) == list(range(turns * len(clients))), session


def test_beyond_the_queue_a_turn_is_refused_in_each_worker(crowd: Crowd, tmp_path: Path) -> None:
    """The limit is a worker's own: beside the turn that is next there may wait QUEUE of them in each."""
    session, go = str(uuid4()), tmp_path / "go"
    (_, (holder, *own)), (_, others), *_ = crowd.clients.items()
    hold(holder, session, go)
    waiting: list[Client] = []
    for clients, most in ((own, QUEUE), (others, QUEUE + 1)):
        for client in clients:
            client.post(count(session))
        refused: list[Client] = []
        while len(refused) < len(clients) - most:
            ready = rawhttp.readable([client for client in clients if client not in refused], 30)
            assert ready, "a turn beyond the queue was not refused at once"
            refused += ready
        for client in refused:
            answer = client.answer()
            assert (answer.status, answer.json["code"], answer.json["result"]) == (409, 409, None)
        waiting += [client for client in clients if client not in refused]
    assert not rawhttp.readable([holder, *waiting], 0.2)
    go.touch()
    assert holder.answer().content == 0
    assert sorted(client.answer().content for client in waiting) == list(range(1, 1 + len(waiting)))


def test_runs_are_listed_and_stopped_from_any_worker(crowd: Crowd) -> None:
    session = str(uuid4())
    (pid, (holder, *_)), (_, (other, *_)), *_ = crowd.clients.items()
    holder.post({"message": {"do": "hold"}, "session_id": session, "stream": True})
    assert holder.head().status == 200
    events = holder.events()
    assert next(events)["result"]["answer_message"]["content"] == "a"
    live = eventually(lambda: run_in(session, other))
    assert live["worker"].endswith(f":{pid}")
    other.request("POST", f"/runs/{live['id']}/stop")
    assert other.answer().status == 200
    (last,) = events
    assert (last["code"], last["result"]) == (503, None)
    eventually(lambda: run_in(session, other) is None)
    other.request("GET", f"/sessions/{session}")
    (turn,) = other.answer().json["result"]["turns"]
    assert (turn["state"], turn["answer"]) == ("incomplete", "a")


def test_a_worker_that_is_killed_frees_its_sessions(crowd: Crowd, tmp_path: Path) -> None:
    """The last: it leaves the crowd without one of its workers."""
    session = str(uuid4())
    pid, (holder, second, *_) = next(iter(crowd.clients.items()))
    others = [client for other, clients in crowd.clients.items() if other != pid for client in clients]
    assert others[0].chat(count(session)).content == 0
    hold(holder, session, tmp_path / "never")
    second.post(count(session))
    others[0].post(count(session))
    assert not rawhttp.readable(others[:1], 0.2)
    eventually(lambda: f":{pid}" in str(run_in(session, others[1])))
    os.kill(pid, signal.SIGKILL)
    assert others[0].answer().content == 1  # the turn that was killed is not there
    assert holder.closed_by_server(30)
    # Another takes its place, and all go on together.
    with contextlib.ExitStack() as stack:
        left = eventually(lambda: len(children(crowd.server)) == crowd.count, 60)
        assert left
        again = reach(crowd.server, crowd.count, stack, 1)
        assert pid not in again
        # Its runs are gone, sooner than those of a worker that is only silent: after 30 s.
        eventually(lambda: run_in(session, others[1]) is None)
        clients = [*others[1:3], *(client for each in again.values() for client in each)]
        found = seen(clients, [session], 2)[session]
    assert sorted(found) == list(range(2, 2 + 2 * len(clients)))
    (log,) = [line for line in crowd.server.log.splitlines() if "started again" in line]
    assert f"worker {pid} ended (-9)" in log


def test_a_second_service_comes_to_a_database_while_the_first_answers(tmp_path: Path) -> None:
    """The first has all sessions of the file locked for itself alone, until somebody else comes."""
    database, go = f"sqlite:///{tmp_path}/both.db", tmp_path / "go"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with serve_target(SHARED, tmp_path / "one", DATABASE=database) as one, Client(one.port, 60) as holder:
        assert rawhttp.chat(one.port, count("s")).content == 0
        hold(holder, "s", go)
        second = serve_target(SHARED, tmp_path / "two", DATABASE=database)
        with second as two, Client(two.port, 60) as waiting:
            waiting.post(count("s"))
            assert rawhttp.chat(two.port, count("free"), timeout=30).content == 0
            assert rawhttp.chat(one.port, count("free"), timeout=30).content == 1
            assert not rawhttp.readable([waiting, holder], 0.2)
            go.touch()
            assert [holder.answer().content, waiting.answer().content] == [1, 2]
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(Client(server.port, 60)) for server in (one, two) * 4]
                found = seen(clients, ["s", "t"], 3)
            assert sorted(found["s"]) == list(range(3, 3 + 24))
            assert sorted(found["t"]) == list(range(24))
