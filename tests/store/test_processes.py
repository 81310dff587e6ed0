"""Several processes on one database; processes that are killed; the flush before the acknowledgement."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest
from sqlalchemy.engine import URL
from tests.store.conftest import Opener
from tests.store.helpers import add, child, contents, fetch, finish, show

from appbuilder.store.sessions.rows import parse

BEGIN = """if True:
    import sys, threading
    from appbuilder.core.store import TurnRecord
    from appbuilder.settings import Settings
    from appbuilder.store.sessions.open_stores import open_store
    store = open_store(sys.argv[1], Settings(db_timeout=30.0))
    def add(session, content):
        rows = [(key, {"content": content}) for key in ("query", "answer")]
        store.commit(TurnRecord(session, "r", rows))
    def read(session, limit):
        return [each["content"] for each in store.history(session, "query", limit)]
"""


def test_two_processes_interleave_sessions(database_url: URL, opened: Opener) -> None:
    """Each turn sees all turns its own process made before; rows of a turn stand together."""
    code = BEGIN + """
    name, rounds = sys.argv[2], 12
    def work(session):
        for number in range(rounds):
            add(session, [name, number])
            mine = [n for owner, n in read(session, 10**6) if owner == name]
            assert mine == list(range(number + 1)), mine
    threads = [threading.Thread(target=work, args=(f"s{n}",)) for n in range(4)]
    sys.stdin.readline()
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    """
    store = opened(database_url)
    store.prepare()
    workers = [child(code, show(database_url), name) for name in ("a", "b")]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        finish(worker)
    for session in ("s0", "s1", "s2", "s3"):
        queries = contents(store, session)
        assert len(queries) == 24
        assert queries == contents(store, session, "answer")
        for name in "ab":
            assert [number for owner, number in queries if owner == name] == list(range(12))
    times = fetch(database_url, "SELECT session_id, created_at, updated_at FROM appbuilder_session_messages")
    assert len({(session, created) for session, created, _ in times}) == len(times), "no two at one time"
    assert all(created == updated for _, created, updated in times)


def test_a_process_whose_clock_is_an_hour_behind(database_url: URL, opened: Opener) -> None:
    code = BEGIN + """
    from datetime import timedelta
    from appbuilder import clock
    now = clock.now
    clock.now = lambda: now() - timedelta(hours=1)
    for line in sys.stdin:
        add("s", int(line))
        print(read("s", 1)[0], flush=True)
    """
    store = opened(database_url)
    add(store, "s", 0)
    behind = child(code, show(database_url))
    assert behind.stdin is not None
    assert behind.stdout is not None
    for number in range(1, 9, 2):
        behind.stdin.write(f"{number}\n")
        behind.stdin.flush()
        assert behind.stdout.readline() == f"{number}\n"
        add(store, "s", number + 1)
    finish(behind)
    assert contents(store, "s") == list(range(9))


def test_a_forked_child_uses_connections_of_its_own(database_url: URL) -> None:
    code = """if True:
        import os, sys
        from appbuilder.core.store import TurnRecord
        from appbuilder.store.sessions.open_stores import open_store
        store = open_store(sys.argv[1])
        def add(number):
            store.commit(TurnRecord("s", "r", [("query", {"content": number})]))
        add(0)
        parents = store._live()
        for number in range(1, 4):
            child = os.fork()
            if child == 0:
                assert store._live() is not parents
                add(number)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        add(4)
        print([each["content"] for each in store.history("s", "query", 10)])
    """
    assert finish(child(code, show(database_url))) == "[0, 1, 2, 3, 4]\n"


def test_kill_9(tmp_path: Path, opened: Opener) -> None:
    """A writer under 8 threads is killed at random points: what it acknowledged is stored, and whole."""
    code = BEGIN + """
    import os
    def work(thread):
        number = int(sys.argv[2]) * 10**6
        while True:
            number += 1
            add(f"s{thread}", number)
            os.write(1, f"{thread} {number}\\n".encode())
    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(8)]
    for thread in threads: thread.start()
    threads[0].join()
    """
    url = f"sqlite:///{tmp_path}/foo.db"
    opened(url).prepare()
    chance = random.Random(1)
    acknowledged: dict[str, list[int]] = defaultdict(list)
    rounds = 12
    for number in range(rounds):
        worker = child(code, url, str(number))
        assert worker.stdout is not None
        head = worker.stdout.readline()
        time.sleep(chance.uniform(0, 0.08))  # a random point is what is wanted
        worker.send_signal(signal.SIGKILL)
        out, _ = worker.communicate()
        for line in re.findall(r"^\d+ \d+\n", head + out, re.MULTILINE):
            session, turn = line.split()
            acknowledged[f"s{session}"].append(int(turn))
    assert sum(map(len, acknowledged.values())) > rounds
    check_acknowledged(url, acknowledged)
    store = opened(url)
    add(store, "s0", "after")
    assert contents(store, "s0", limit=1) == ["after"]


def check_acknowledged(url: str, acknowledged: dict[str, list[int]]) -> None:
    rows = fetch(url, "SELECT session_id, message_key, message_value FROM appbuilder_session_messages "
                      "ORDER BY session_id, created_at, id")
    stored: dict[tuple[str, str], list[int]] = defaultdict(list)
    for session, key, value in rows:
        stored[session, key].append(parse(value)["content"])
    for session, turns in acknowledged.items():
        assert stored[session, "query"] == stored[session, "answer"], "no half turn"
        assert set(turns) <= set(stored[session, "query"]), "no acknowledged turn is lost"
        assert stored[session, "query"] == sorted(stored[session, "query"])


def test_the_flush_comes_before_the_acknowledgement(tmp_path: Path) -> None:
    """In the trace of system calls the log is written and flushed before each acknowledgement."""
    code = BEGIN + """
    import os
    add("s", 0)
    for number in range(20):
        os.write(1, b"turn\\n")
        add("s", number)
        os.write(1, b"done\\n")
    """
    trace = tmp_path / "trace"
    calls = "trace=write,pwrite64,fsync,fdatasync"
    url = f"sqlite:///{tmp_path}/foo.db"
    done = subprocess.run(
        ["strace", "-f", "-y", "-o", trace, "-e", calls, sys.executable, "-c", code, url],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert flushed_turns(trace.read_text()) == 20


def flushed_turns(trace: str) -> int:
    """How many turns were flushed after their last write and before their acknowledgement."""
    flushed, dirty, turns = False, False, 0
    for line in trace.splitlines():
        if '"turn\\n"' in line:
            flushed = dirty = False
        elif "foo.db-wal" in line and "pwrite64(" in line:
            dirty, flushed = True, False
        elif "foo.db-wal" in line and re.search(r"f(data)?sync\(", line):
            flushed = dirty
        elif '"done\\n"' in line:
            turns += flushed
    return turns


BEGINS = 'write(1</x>, "turn\\n", 5)'
WRITES = "pwrite64(4</foo.db-wal>)"
SYNCS = "fdatasync(4</foo.db-wal>)"
ENDS = 'write(1</x>, "done\\n", 5)'


@pytest.mark.parametrize(("calls", "turns"), [
    ((BEGINS, WRITES, SYNCS, ENDS), 1),
    ((BEGINS, WRITES, ENDS, SYNCS), 0),
    ((BEGINS, SYNCS, WRITES, ENDS), 0),
], ids=["flushed", "too late", "too early"])
def test_the_reader_of_traces_can_tell(calls: tuple[str, ...], turns: int) -> None:
    assert flushed_turns("\n".join(calls)) == turns
