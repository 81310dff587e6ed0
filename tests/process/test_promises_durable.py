"""P1, P2: an acknowledged turn survives kill -9 and power loss, whole. P5: history in commit order."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import URL
from tests.process import chaos, rawhttp
from tests.process.server import start
from tests.process.serving import DOORS, SERVICE, command, free_port, rows, serve, settings
from tests.services.fixtures import server_of


def text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


# P1, P2


@pytest.mark.parametrize("worker", DOORS)
def test_kill_9_at_random_points(tmp_path: Path, worker: str) -> None:
    kills = 5 if worker == SERVICE else 10  # its workers take a second to start
    tally = chaos.run(tmp_path, worker, kills=kills)
    assert tally.kills == kills + 1
    assert len(tally.acknowledged) > 20
    # The points were within turns: some were sent and not acknowledged.
    assert tally.sent.keys() - tally.acknowledged


@pytest.mark.parametrize(("kind", "worker"), [("postgresql", "gevent"), ("mariadb", "gthread"),
                                              ("postgresql", "service")])
def test_kill_9_on_a_database_server(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, worker: str
) -> None:
    url = server_of(request, kind).new_database()
    assert len(chaos.run(tmp_path, worker, kills=4, database=text(url)).acknowledged) > 10


CALLS = "trace=fsync,fdatasync,pwrite64,write,writev,sendto,sendmsg"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("worker", DOORS)
def test_the_flush_comes_before_the_answer_s_last_byte(tmp_path: Path, worker: str, stream: bool) -> None:
    port, trace = free_port(), tmp_path / "trace"
    gunicorn = command("scripted", port, worker)
    strace = ["strace", "-f", "-y", "-s", "200000", "-e", CALLS, "-o", str(trace)]
    with start(tmp_path, [*strace, *gunicorn], port=port, env=settings(tmp_path)):
        rawhttp.chat(port, {"message": "first"})  # makes the writer's connection
        message = {"do": "say", "pieces": ["mark-of-the-answer"], "mark": "the-turn"}
        with rawhttp.Client(port) as client:
            client.post({"message": message, "stream": stream})
            response = client.head()
            assert response.status == 200
            response.read()
    lines = trace.read_text(errors="replace").splitlines()
    written = index(lines, r"pwrite64\(\d+<[^>]*chat\.db-wal>.*the-turn")
    done = r"f(data)?sync\(\d+<[^>]*chat\.db-wal>\)\s+= 0|<\.\.\. f(data)?sync resumed>\)\s+= 0"
    flushed = index(lines, done, after=written)
    last = r'is_completion\\":true' if stream else "mark-of-the-answer"
    sent = index(lines, rf"(write|writev|sendto|sendmsg)\(\d+<(socket|TCP)[^>]*>+,.*{last}")
    assert written < flushed < sent


def index(lines: list[str], pattern: str, after: int = 0) -> int:
    """The first line after *after* that holds *pattern*."""
    found = re.compile(pattern)
    return next(number for number, line in enumerate(lines) if number > after and found.search(line))


# P5


def test_history_is_in_commit_order_whatever_the_clock_does(database_url: URL, tmp_path: Path) -> None:
    noon = datetime(2026, 10, 25, 12, 0, 0)
    hour = timedelta(hours=1)
    # Stands still, steps back an hour, stands still there, comes back to where it was, goes on.
    times = [noon, noon, noon - hour, noon - hour, noon - 2 * hour, noon, noon, noon + hour]
    database = text(database_url)
    with serve("clocked", tmp_path, DATABASE=database) as server, rawhttp.Client(server.port) as client:
        for number, at in enumerate(times):
            client.request("GET", f"/clock?at={at.isoformat()}")
            assert client.answer().status == 200
            answer = client.chat({"message": {"do": "count", "mark": str(number)}, "session_id": "s"})
            assert answer.content == number
        ask = {"message": {"do": "history", "key": "mark"}, "session_id": "s"}
        assert client.chat(ask).content == [str(number) for number in range(len(times))]
        newest = {"message": {"do": "history", "key": "mark", "limit": 3}, "session_id": "s"}
        assert client.chat(newest).content == ["5", "6", "7"]
    stored = rows(database, "session_id = 's' AND message_key = 'mark'")
    assert [row["message_value"]["content"] for row in stored] == [str(n) for n in range(len(times))]
    stamps = [row["created_at"] for row in stored]
    assert stamps == sorted(set(stamps))
    assert stamps == [row["updated_at"] for row in stored]
