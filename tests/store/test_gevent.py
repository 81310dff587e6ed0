"""Under gevent a database that waits must not stop the other greenlets, however late gevent patched."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.engine import URL
from tests.services.fixtures import SERVERS, server_of
from tests.services.servers import Server
from tests.store.conftest import Opener
from tests.store.helpers import add, child, contents, finish, show

from appbuilder.store.sessions.session_store import SqlStore

EARLY = "from gevent import monkey; monkey.patch_all()\n"
# As gunicorn --preload does: the program is imported, its store prepared, and then the worker patches.
BEGIN = """if True:
    import sys, threading, time
    from appbuilder.core.store import TurnRecord
    from appbuilder.errors import StoreUnavailable
    from appbuilder.settings import Settings
    from appbuilder.store.sessions.open_stores import open_store
    store = open_store(sys.argv[1], Settings(db_timeout=1.5, db_pool=4))
    store.prepare()
    if sys.argv[2] == "late":
        import os
        if os.fork():
            sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
        from gevent import monkey; monkey.patch_all()
    import gevent
    def add(session, content):
        rows = [(key, {"content": content}) for key in ("query", "answer")]
        store.commit(TurnRecord(session, "r", rows))
    def read(session):
        return [each["content"] for each in store.history(session, "query", 10**6)]
    ticks = []
    def tick():
        while True:
            ticks.append(time.monotonic())
            gevent.sleep(0.01)
    def longest_pause(since):
        times = [since, *(t for t in ticks if t >= since), time.monotonic()]
        return max(b - a for a, b in zip(times, times[1:]))
    gevent.spawn(tick)
    gevent.sleep(0.05)
"""


@pytest.fixture(params=["early", "late"])
def patched(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(code: str, url: URL | str, patched: str, *more: str) -> str:
    return finish(child((EARLY if patched == "early" else "") + BEGIN + code, show(url), patched, *more))


def test_a_foreign_lock_stops_nobody(tmp_path: Path, opened: Opener, patched: str) -> None:
    store = opened(f"sqlite:///{tmp_path}/foo.db")
    add(store, "s", "read me")
    foreign = sqlite3.connect(tmp_path / "foo.db", isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    code = """
    def write(number):
        try:
            add("s", number)
        except StoreUnavailable as error:
            return str(error)
    began = time.monotonic()
    writers = [gevent.spawn(write, number) for number in range(5)]
    gevent.sleep(0.2)
    assert read("s") == ["read me"]
    gevent.joinall(writers)
    took = time.monotonic() - began
    assert all("locked" in writer.value for writer in writers), [writer.value for writer in writers]
    assert 1.4 < took < 3, took
    assert longest_pause(began) < 0.3, longest_pause(began)
    """
    run(code, store.url, patched)
    foreign.close()


def test_greenlets_write_in_groups(tmp_path: Path, patched: str) -> None:
    code = """
    commits = []
    add("s", "first")
    store._live()._writer.set_trace_callback(lambda sql: commits.append(1) if sql == "COMMIT" else None)
    gevent.joinall([gevent.spawn(add, f"s{n}", n) for n in range(32)], raise_error=True)
    assert len(commits) <= 2, commits
    assert [read(f"s{n}") for n in range(32)] == [[n] for n in range(32)]
    """
    run(code, f"sqlite:///{tmp_path}/foo.db", patched)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    return server_of(request, request.param)


def test_a_server_that_waits_stops_nobody(server: Server, opened: Opener, patched: str) -> None:
    """Another client holds a session's lock; reads and the other sessions go on."""
    from appbuilder.store.databases.client_server import ServerBackend

    store: SqlStore = opened(server.new_database())
    add(store, "s", "read me")
    backend = store._live()
    assert isinstance(backend, ServerBackend)
    code = """
    def write():
        try:
            add("s", 1)
        except StoreUnavailable:
            return "refused"
    began = time.monotonic()
    writer = gevent.spawn(write)
    gevent.sleep(0.2)
    assert read("s") == ["read me"]
    gevent.joinall([gevent.spawn(add, f"s{n}", n) for n in range(12)], raise_error=True)
    writer.join()
    assert writer.value == "refused", writer.value
    assert longest_pause(began) < 0.4, longest_pause(began)
    assert [read(f"s{n}") for n in range(12)] == [[n] for n in range(12)]
    """
    with backend.connect() as connection, backend.transaction(connection, "s"):
        run(code, store.url, patched)
        connection.commit()
    add(store, "s", "after")
    assert contents(store, "s") == ["read me", "after"]


def test_a_server_that_hangs_stops_nobody(server: Server, opened: Opener) -> None:
    store = opened(server.new_database())
    store.prepare()
    code = """
    add("s", 1)
    print("ready", flush=True)
    sys.stdin.buffer.raw.read(1)
    began = time.monotonic()
    try:
        read("s")
        raise SystemExit("it answered")
    except StoreUnavailable:
        pass
    assert longest_pause(began) < 0.4, longest_pause(began)
    """
    process = child(EARLY + BEGIN + code, show(store.url), "early")
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    server.freeze()
    try:
        process.stdin.write("x")
        process.stdin.flush()
        finish(process)
    finally:
        server.thaw()


def test_a_killed_greenlet_leaves_nobody_waiting(tmp_path: Path, opened: Opener) -> None:
    store = opened(f"sqlite:///{tmp_path}/foo.db")
    add(store, "s", 0)
    foreign = sqlite3.connect(tmp_path / "foo.db", isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    code = """
    writers = [gevent.spawn(add, f"s{n}", n) for n in range(6)]
    gevent.sleep(0.2)
    gevent.killall([writers[0], writers[3]])
    print("killed", flush=True)
    gevent.joinall(writers)
    assert [writer.successful() and read(f"s{n}") for n, writer in enumerate(writers)
            if n not in (0, 3)] == [[1], [2], [4], [5]], [writer.exception for writer in writers]
    assert read("s0") == read("s3") == []
    """
    process = child(EARLY + BEGIN + code, show(store.url), "early")
    assert process.stdout is not None
    assert process.stdout.readline() == "killed\n", process.communicate()[1]
    foreign.execute("COMMIT")
    foreign.close()
    finish(process)
