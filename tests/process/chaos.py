"""kill -9 of workers at random points under load: what was acknowledged is stored, and no turn by half.

As a program: ``python -m tests.process.chaos [kills] [database url]`` (``make chaos``).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from tests.process import rawhttp
from tests.process.server import Server, start
from tests.process.serving import (
    DOORS,
    SERVICE,
    children,
    command,
    eventually,
    free_port,
    rows,
    serve_command,
    settings,
)

from appbuilder.core.store import COMPLETE, FAILED, TURN_KEY

CLIENTS = 8
BETWEEN = (0.01, 0.3)
"""Seconds of load between two kills."""
KEYS = {"query", "answer"}
SCRIPTED = "tests.process.apps.scripted:Scripted"


@dataclass
class Tally:
    """What the clients were told, under the marks of their turns."""

    sent: Counter[str] = field(default_factory=Counter)
    acknowledged: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    kills: int = 0


def turn(client: rawhttp.Client, mark: str, session: str, stream: bool) -> bool:
    """One turn; whether it was acknowledged."""
    message = {"do": "say", "pieces": ["a", "b", "c"], "mark": mark}
    client.post({"message": message, "session_id": session, "stream": stream})
    response = client.head()
    if not stream:
        body = json.loads(response.read())
        return bool(response.status == 200 and body["code"] == 0)
    return any(event["code"] == 0 and event["result"]["is_completion"] for event in client.events())


def talk(port: int, name: str, tally: Tally, stop: threading.Event) -> None:
    """A client: turn after turn, whole and streamed, on connections that are made anew when they break."""
    number = 0
    tally.sessions.add(name)
    while not stop.is_set():
        try:
            with rawhttp.Client(port, timeout=20) as client:
                while not stop.is_set():
                    number += 1
                    mark = f"{name}-{number}"
                    tally.sent[mark] += 1
                    if turn(client, mark, name, stream=number % 2 == 0):
                        tally.acknowledged.add(mark)
        except (OSError, HTTPException, ValueError, AssertionError):
            time.sleep(0.005)  # nobody listens while the master starts anew


@contextlib.contextmanager
def load(port: int, tally: Tally) -> Iterator[None]:
    """CLIENTS clients at work."""
    stop = threading.Event()
    prefix = f"{random.randrange(16**6):06x}"
    threads = [threading.Thread(target=talk, args=(port, f"{prefix}-{n}", tally, stop))
               for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive(), "a client hangs"


def kill_worker(server: Server) -> None:
    """kill -9 to one of the processes that run the turns; its parent makes another."""
    deadline = time.monotonic() + 20
    while not (found := children(server)):
        assert time.monotonic() < deadline, f"no worker is left:\n{server.log}"
        time.sleep(0.005)
    pid = random.choice(found)
    os.kill(pid, signal.SIGKILL)
    while pid in children(server):
        time.sleep(0.002)


def command_of(door: str, port: int) -> list[str]:
    """The scripted component under a parent that makes workers anew: gunicorn's one, or the service's two."""
    if door == SERVICE:
        return serve_command(SCRIPTED, port, "--workers", "2", "--no-page")
    return command("scripted", port, door, "--preload")


def run(folder: Path, door: str, kills: int, database: str | None = None, restarts: int = 1) -> Tally:
    """*kills* kills of the worker, and *restarts* of the whole service; checks after each of these.

    :raises AssertionError: a promise was broken.
    """
    given = {} if database is None else {"DATABASE": database}
    env = settings(folder, **given)
    port, tally = free_port(), Tally()
    for _ in range(restarts):
        server = start(folder, command_of(door, port), port=port, env=env)
        if door == SERVICE:  # one that never served is taken for a program that cannot be
            eventually(lambda up=server: "is served on" in up.log, 60)  # type: ignore[misc]
        with server, load(port, tally):
            for _ in range(max(1, kills // restarts)):
                wait_for_work(tally)
                kill_worker(server)
                tally.kills += 1
            wait_for_work(tally)
            server.kill()
            tally.kills += 1
        check(env["DATABASE"], tally, door)
    server = start(folder, command("scripted", port, door), port=port, env=env)
    with server:
        assert rawhttp.chat(port, {"message": "service goes on"}).status == 200
    return tally


def wait_for_work(tally: Tally) -> None:
    """Until turns are acknowledged again, and a random moment more."""
    before, deadline = len(tally.acknowledged), time.monotonic() + 20
    while len(tally.acknowledged) == before:
        assert time.monotonic() < deadline, "no turn is acknowledged any more"
        time.sleep(0.005)
    time.sleep(random.uniform(*BETWEEN))


def check(database: str, tally: Tally, door: str) -> None:
    """Acknowledged turns are a subset of the stored; each is stored whole, and once."""
    turns: defaultdict[str, Counter[str]] = defaultdict(Counter)
    stored: Counter[str] = Counter()
    sessions: Counter[str] = Counter()
    for row in rows(database):
        key, value = row["message_key"], row["message_value"]
        if row["session_id"] not in tally.sessions:
            continue  # of a run before this one
        if key.startswith("_appbuilder.session."):
            sessions[row["session_id"]] += 1
            continue
        if key == TURN_KEY and value["state"] == FAILED:
            continue
        turns[row["request_id"]][key] += 1
        if key == "query" and value.get("state") is None:
            stored[value["content"]] += 1
        if key == TURN_KEY and value["state"] == COMPLETE:
            assert value["answer"]["content"] == "abc"
    lost = tally.acknowledged - stored.keys()
    assert not lost, f"{len(lost)} of {len(tally.acknowledged)} acknowledged turns are lost: {min(lost)}..."
    expected = {*KEYS, TURN_KEY} if door == SERVICE else KEYS
    half = [keys for keys in turns.values() if keys.keys() != expected or set(keys.values()) != {1}]
    assert not half, f"{len(half)} half turns: {half[:5]}"
    assert set(stored.values()) <= {1}, "a turn is stored twice"
    assert set(sessions.values()) <= {1}, "a session is listed twice"


def main() -> None:
    """Every door, with its share of the kills."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    database = sys.argv[2] if len(sys.argv) > 2 else None
    for door in DOORS:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.monotonic()
            share = max(1, kills // len(DOORS))
            tally = run(Path(folder), door, share, database, restarts=max(1, share // 10))
            print(f"{door}: {tally.kills} kills in {time.monotonic() - begun:.0f} s, "
                  f"{len(tally.acknowledged)} turns acknowledged, none lost, none by half")


if __name__ == "__main__":
    main()
