"""P11: a database or a model server that fails is an error in bounded time; the first request after works."""

from __future__ import annotations

import resource
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.process import rawhttp
from tests.process.rawhttp import Answer
from tests.process.server import Server
from tests.process.serving import DOORS, SERVICE, appended, rows, serve, workers
from tests.services.fixtures import server_of

from appbuilder.testing import GatewayDouble, Reply

TIMEOUT = 1.0
BOUND = 6.0
"""Seconds an error may take: the time-out, its grace, one more try, and a machine that is busy."""
PROMPT = 1.0
"""Seconds GET /health may take, whatever else hangs."""


@contextmanager
def health_meanwhile(server: Server) -> Iterator[list[float]]:
    """Asks for /health all the time; the seconds each answer took. It never waits for what hangs."""
    took: list[float] = []
    stop = threading.Event()

    def ask() -> None:
        while True:
            begun = time.monotonic()
            assert rawhttp.get(server.port, "/health").status == 200
            took.append(time.monotonic() - begun)
            if stop.wait(0.05):
                return

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield took
        finally:
            stop.set()
            asking.result()
    assert max(took) < PROMPT


def timed(server: Server, body: Any) -> tuple[Answer, float]:
    begun = time.monotonic()
    answer = rawhttp.chat(server.port, body, timeout=30)
    return answer, time.monotonic() - begun


def check(answer: Answer, status: int) -> None:
    assert answer.status == status, answer.body[:300]
    assert (answer.json["code"], answer.json["result"]) == (status, None)
    if status == 503:
        assert int(answer.header("Retry-After") or 0) >= 1


@pytest.mark.parametrize(("kind", "worker"), [("postgresql", "gevent"), ("mariadb", "gthread"),
                                              ("mariadb", "gevent")])
def test_a_database_server_that_dies_hangs_and_returns(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, worker: str
) -> None:
    database = server_of(request, kind)
    url = database.new_database().render_as_string(hide_password=False)
    with serve("scripted", tmp_path, worker, DATABASE=url, DB_TIMEOUT=str(TIMEOUT)) as server:
        for end, begin in ((database.crash, database.start), (database.freeze, database.thaw)):
            during = hit_while_away(server, end, begin)
            assert {answer.status for answer, _ in during} <= {200, 503}
            assert 503 in {answer.status for answer, _ in during}
            assert max(took for _, took in during) < BOUND
            # The first request after it is back, and all that were told 200 are there.
            assert rawhttp.chat(server.port, {"message": "first", "session_id": "after"}).status == 200
        stored = {row["request_id"] for row in rows(url)}
        for answer, _ in during:
            assert answer.status == 503 or answer.header("X-Appbuilder-Request-Id") in stored


def hit_while_away(server: Server, end: Any, begin: Any) -> list[tuple[Answer, float]]:
    """Eight clients at work while the database goes away and comes back."""
    stop = threading.Event()
    answers: list[tuple[Answer, float]] = []

    def client(number: int) -> None:
        while not stop.is_set():
            answers.append(timed(server, {"message": {"do": "count"}, "session_id": f"c{number}"}))

    with ThreadPoolExecutor(8) as pool:
        turns = [pool.submit(client, number) for number in range(8)]
        try:
            with health_meanwhile(server):
                end()
                failed = time.monotonic() + 20
                while not any(answer.status == 503 for answer, _ in answers):
                    assert time.monotonic() < failed
                    time.sleep(0.02)
        finally:
            begin()
            stop.set()
        for turn in turns:
            turn.result()
    return answers


def read(server: Server) -> Any:
    """What was answered in session ``s``, asked so that nothing is to be written."""
    if server.kind == SERVICE:  # which keeps a turn also where its component keeps nothing
        turns = rawhttp.get(server.port, "/sessions/s").json["result"]["turns"]
        return [turn["answer"] for turn in turns]
    ask = {"message": {"do": "history", "key": "answer"}, "session_id": "s"}
    return rawhttp.chat(server.port, ask).content


@pytest.mark.parametrize("worker", DOORS)
def test_sqlite_locked_by_another_program(tmp_path: Path, worker: str) -> None:
    with serve("scripted", tmp_path, worker, DB_TIMEOUT=str(TIMEOUT)) as server:
        rawhttp.chat(server.port, {"message": "before", "session_id": "s"})
        with closing(sqlite3.connect(tmp_path / "chat.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with health_meanwhile(server), ThreadPoolExecutor(4) as pool:
                turns = list(pool.map(lambda n: timed(server, {"message": f"m{n}"}), range(4)))
            # Reading goes on.
            assert read(server) == ["before"]
            other.execute("ROLLBACK")
        for answer, took in turns:
            check(answer, 503)
            assert took < BOUND
        assert rawhttp.chat(server.port, {"message": "after"}).status == 200


@pytest.mark.parametrize("worker", DOORS)
def test_sqlite_on_a_full_disk(tmp_path: Path, worker: str) -> None:
    """The kernel's limit on the size of files stands for the disk's end."""
    with serve("scripted", tmp_path, worker, DB_TIMEOUT=str(TIMEOUT)) as server:
        for _ in range(3):
            assert rawhttp.chat(server.port, {"message": "x" * 50_000, "session_id": "s"}).status == 200
        (pid,) = workers(server)
        full = (tmp_path / "chat.db-wal").stat().st_size + 1000
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
        with health_meanwhile(server):
            answer, took = timed(server, {"message": "y" * 50_000, "session_id": "full"})
        check(answer, 503)
        assert took < BOUND
        assert rows(f"sqlite:///{tmp_path}/chat.db", "session_id = 'full'") == []
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert rawhttp.chat(server.port, {"message": "after", "session_id": "full"}).status == 200
        assert len(appended(f"sqlite:///{tmp_path}/chat.db", "session_id = 's'")) == 6


@pytest.fixture(scope="module")
def gateway() -> Iterator[GatewayDouble]:
    with GatewayDouble() as double:
        yield double


@pytest.fixture(scope="module", params=DOORS)
def asking(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, gateway: GatewayDouble
) -> Iterator[Server]:
    with serve("model", tmp_path_factory.mktemp("asking"), request.param, GATEWAY_URL=gateway.address,
               TOKEN="t", MODEL_TIMEOUT="0.5", MODEL_RETRIES="1", RETRY_BACKOFF="0.01") as server:
        yield server


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("reply", "status"), [
    (Reply(hang=True), 504),
    (Reply(hang=True, noise=b"x"), 504),
    (Reply(pieces=["never"], silent_after=0, noise=b": ping\n\n"), 504),
    (Reply(pieces=["never"], silent_after=0), 504),
    (Reply(status=500), 502),
    (Reply(status=400), 502),
    (Reply(raw=b"<html>not ours</html>"), 502),
    (Reply(pieces=["never"], cut_after=0), 502),
], ids=["hangs", "a header byte by byte", "comments", "silent", "500", "400", "garbage", "cut"])
def test_a_model_server_that_fails(
    asking: Server, gateway: GatewayDouble, reply: Reply, status: int, stream: bool
) -> None:
    gateway.default = reply
    try:
        with health_meanwhile(asking):
            answer, took = timed(asking, {"message": "q", "stream": stream, "session_id": "f"})
    finally:
        gateway.default = Reply()
    check(answer, status)
    assert took < BOUND
    assert appended(f"sqlite:///{asking.folder}/chat.db", "session_id = 'f'") == []
    assert rawhttp.chat(asking.port, {"message": "after"}).content == "after"


@pytest.mark.parametrize(("reply", "code"), [
    (Reply(pieces=["a", "b", "c"], silent_after=2), 504),
    (Reply(pieces=["a", "b", "c"], silent_after=2, noise=b'data: {"answer": ""}\n\n'), 504),
    (Reply(pieces=["a", "b", "c"], cut_after=2), 502),
    (Reply(pieces=["a", "b", "c"], error_after=2), 502),
], ids=["silent", "empty pieces", "cut", "error"])
def test_a_model_server_that_fails_within_its_answer(
    asking: Server, gateway: GatewayDouble, reply: Reply, code: int
) -> None:
    gateway.reply(reply)
    with health_meanwhile(asking):
        *pieces, last = rawhttp.stream(asking.port, {"message": "q"})
    assert [event["result"]["answer_message"]["content"] for event in pieces] == ["a", "b"]
    assert (last["code"], last["result"]) == (code, None)
    assert rawhttp.chat(asking.port, {"message": "after"}).content == "after"
