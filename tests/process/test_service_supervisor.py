"""``appbuilder serve --workers 2``: its workers are started, watched, started anew, and ended together."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from tests.process import rawhttp
from tests.process.rawhttp import Client
from tests.process.server import Server, start
from tests.process.serving import APPS, children, eventually, free_port, serve_command, serve_target, settings
from tests.process.test_service_workers import SHARED, count, hold, reach

TERMINATED = -signal.SIGTERM


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, list[list[Client]]]]:
    """A service with two workers, and two clients on each; its parameter: the seconds turns have to end."""
    drain = str(getattr(request, "param", 60))
    with (
        serve_target(SHARED, tmp_path, "--workers", "2", DRAIN_TIMEOUT=drain) as server,
        contextlib.ExitStack() as stack,
    ):
        yield server, list(reach(server, 2, stack, 2).values())


def begin(client: Client, session: str, *, deaf: bool = False) -> Iterator[Any]:
    """A stream that has begun, and does not end by itself; its events from now on."""
    client.post({"message": {"do": "hold", "deaf": deaf}, "session_id": session, "stream": True})
    assert client.head().status == 200
    events = client.events()
    assert next(events)["result"]["answer_message"]["content"] == "a"
    return events


def ended(pid: int) -> bool:
    """Whether a process has ended; one whose parent is gone may not have been looked after yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def states(server: Server, *sessions: str) -> list[Any]:
    """State and answer of each session's only turn, read by a service that was started again."""
    database = f"sqlite:///{server.folder}/chat.db"
    with serve_target(SHARED, server.folder, DATABASE=database) as again:
        found = [rawhttp.get(again.port, f"/sessions/{each}").json["result"]["turns"] for each in sessions]
    return [(turn["state"], turn["answer"]) for (turn,) in found]


def metrics_folder(server: Server) -> Path:
    variables = Path(f"/proc/{children(server)[0]}/environ").read_bytes().decode().split("\0")
    return Path(next(each for each in variables if each.startswith("PROMETHEUS_")).partition("=")[2])


def test_sigterm_lets_turns_finish_and_puts_everything_away(
    pair: tuple[Server, list[list[Client]]], tmp_path: Path
) -> None:
    server, ((one, _), (other, idle)) = pair
    go, metrics, workers = tmp_path / "go", metrics_folder(server), children(server)
    assert list(metrics.glob("*.db"))
    for number, client in enumerate((one, other)):
        client.post(count(f"s{number}", go, stream=True))
        eventually((tmp_path / "go.begun").exists, 30)
        (tmp_path / "go.begun").unlink()
    server.process.terminate()
    # What is new is refused while they finish.
    eventually(lambda: idle.chat(count("new")).status == 503, 30)
    go.touch()
    for client in (one, other):
        assert client.head().status == 200
        assert rawhttp.text_of(list(client.events())) == "0"
    assert server.wait(60) == TERMINATED
    assert all(map(ended, workers))
    assert not metrics.exists()
    assert states(server, "s0", "s1") == [("complete", 0), ("complete", 0)]


@pytest.mark.parametrize("pair", [1], indirect=True)
def test_sigterm_marks_what_does_not_finish(pair: tuple[Server, list[list[Client]]]) -> None:
    server, ((one, _), (other, _)) = pair
    streams = [begin(one, "s0"), begin(other, "s1", deaf=True)]
    server.process.terminate()
    for events in streams:
        (last,) = events
        assert (last["code"], last["result"]) == (503, None)
    assert server.wait(60) == TERMINATED
    assert states(server, "s0", "s1") == [("incomplete", "a"), ("incomplete", "a")]


def test_ctrl_c_once_lets_turns_finish(pair: tuple[Server, list[list[Client]]], tmp_path: Path) -> None:
    server, ((one, idle), _) = pair  # the other worker has nothing to wait for
    hold(one, "s0", tmp_path / "go")
    server.interrupt()
    eventually(lambda: idle.chat(count("new")).status == 503, 30)
    (tmp_path / "go").touch()
    assert one.answer().content == 0
    assert server.wait(60) == 0


def test_ctrl_c_twice_ends_at_once(pair: tuple[Server, list[list[Client]]]) -> None:
    server, ((one, _), (other, idle)) = pair
    workers = children(server)
    streams = [begin(one, "s0", deaf=True), begin(other, "s1", deaf=True)]
    server.interrupt()
    eventually(lambda: idle.chat(count("new")).status == 503, 30)
    begun = time.monotonic()
    server.interrupt()
    assert server.wait(30) == 0
    assert time.monotonic() - begun < 30  # they had a minute
    assert all(map(ended, workers))
    for events in streams:
        with contextlib.suppress(HTTPException, OSError):  # cut off
            assert list(events) == []


def test_workers_whose_supervisor_is_killed_end_by_themselves(
    pair: tuple[Server, list[list[Client]]], tmp_path: Path
) -> None:
    server, ((one, _), _) = pair
    workers = children(server)
    hold(one, "s0", tmp_path / "go")
    os.kill(server.process.pid, signal.SIGKILL)
    server.wait()
    (tmp_path / "go").touch()
    assert one.answer().content == 0
    eventually(lambda: all(map(ended, workers)), 60)
    assert states(server, "s0") == [("complete", 0)]


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "two"])
@pytest.mark.parametrize(("target", "sentence"), [
    (f"{APPS}.shared:Nothing", "has no 'Nothing'"),
    ("broken.py:agent", "broken.py could not be imported: ZeroDivisionError"),
])
def test_a_program_that_cannot_be_served(
    tmp_path: Path, target: str, sentence: str, options: tuple[str, ...]
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    port = free_port()
    command = serve_command(target, port, *options)
    with start(tmp_path, command, port=port, env=settings(tmp_path), ready=None) as server:
        assert server.wait(60) == 2
        assert server.log.count(sentence) == 1
        assert "is served on" not in server.log


def test_reload_takes_a_change_and_survives_a_mistake(tmp_path: Path) -> None:
    program = tmp_path / "app.py"

    def write(text: str) -> None:
        """At once, as an editor does."""
        (tmp_path / "app.new").write_text(text)
        (tmp_path / "app.new").rename(program)

    def says(server: Server) -> Any:
        """What is answered now; None: nothing, between two workers."""
        with contextlib.suppress(OSError, HTTPException):
            answer = rawhttp.chat(server.port, {"message": "hello"}, timeout=2)
            return answer.content if answer.status == 200 else None
        return None

    answer = "def agent(message: str) -> str:\n    return '{}'\n"
    write(answer.format("first"))
    with serve_target("app.py:agent", tmp_path, "--reload") as server:
        assert says(server) == "first"
        write(answer.format("second"))
        eventually(lambda: says(server) == "second", 60)
        write("def agent(message: str) -> str\n")
        eventually(lambda: "SyntaxError" in server.log, 60)
        write(answer.format("third"))
        eventually(lambda: says(server) == "third", 60)
        assert server.terminate() == TERMINATED
