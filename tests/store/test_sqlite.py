"""SQLite alone: its settings, foreign locks, full disks, lost files, damaged rows."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from tests.store.conftest import Opener
from tests.store.helpers import add, child, contents, fetch, finish, turn

from appbuilder.core.store import TurnRecord
from appbuilder.errors import ConfigurationError, StoreUnavailable
from appbuilder.store.databases import sqlite as module
from appbuilder.store.sessions.rows import PreparedTurn

SEEN_BY_THE_SEED = "SELECT name FROM sqlite_master WHERE type='table'"
COLUMNS = [
    "id", "session_id", "request_id", "message_key", "message_value", "created_at", "updated_at", "deleted",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "foo.db"


def test_one_table_eight_columns_as_the_seed_shows(opened: Opener, path: Path) -> None:
    store = opened(f"sqlite:///{path}")
    add(store, "s", "x")
    assert fetch(store.url, SEEN_BY_THE_SEED) == [("appbuilder_session_messages",)]
    info = fetch(store.url, "PRAGMA table_info(appbuilder_session_messages)")
    assert [row[1] for row in info] == COLUMNS
    assert [row[2] for row in info] == [
        "VARCHAR(36)", "VARCHAR(36)", "VARCHAR(36)", "VARCHAR(128)", "JSON",
        "DATETIME", "DATETIME", "BOOLEAN",
    ]
    times = fetch(store.url, "SELECT created_at, updated_at, deleted FROM appbuilder_session_messages")
    for created, updated, deleted in times:
        assert created == updated
        assert len(created) == 26
        assert deleted == 0


def test_durable_settings(opened: Opener, path: Path) -> None:
    store = opened(f"sqlite:///{path}")
    add(store, "s", "x")
    backend = store._live()
    assert isinstance(backend, module.SqliteBackend)
    assert backend._writer is not None
    for connection in (backend._writer, backend._engine.raw_connection().driver_connection):
        assert connection is not None
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_turns_that_wait_together_are_one_commit(opened: Opener, path: Path) -> None:
    store = opened(f"sqlite:///{path}")
    add(store, "s", "first")
    backend = store._live()
    assert isinstance(backend, module.SqliteBackend)
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    threads = [threading.Thread(target=add, args=(store, f"s{n}", n)) for n in range(16)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(backend._group._queue) == 16)
    commits: list[int] = []
    assert backend._writer is not None
    backend._writer.set_trace_callback(lambda sql: commits.append(1) if sql == "COMMIT" else None)
    foreign.execute("COMMIT")
    for thread in threads:
        thread.join()
    assert len(commits) == 1
    foreign.close()


def wait_until(condition: object) -> None:
    tick = threading.Event()
    for _ in range(2000):
        if condition():  # type: ignore[operator]
            return
        tick.wait(0.005)
    raise AssertionError("it did not come to that")


def test_a_foreign_lock_is_an_error_in_bounded_time_and_reads_go_on(opened: Opener, path: Path) -> None:
    store = opened(f"sqlite:///{path}", db_timeout=0.5)
    add(store, "s", 1)
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="locked"):
        add(store, "s", 2)
    assert 0.5 <= time.monotonic() - began < 2
    assert contents(store, "s") == [1]
    foreign.execute("COMMIT")
    foreign.close()
    add(store, "s", 3)
    assert contents(store, "s") == [1, 3]


def test_one_turn_that_cannot_be_stored_fails_alone(opened: Opener, path: Path) -> None:
    store = opened(f"sqlite:///{path}")
    add(store, "s", 0)
    backend = store._live()
    assert isinstance(backend, module.SqliteBackend)
    taken = PreparedTurn("s", "r", (("id-1", "query", "1"),))
    assert backend._write_group(lambda: [taken], time.monotonic() + 5) == [None]
    good = PreparedTurn.of(turn("s", ("query", "good")))
    bad = PreparedTurn("s", "r", (("id-2", "query", "2"), ("id-2", "query", "2")))
    other = PreparedTurn.of(turn("t", ("query", "other")))
    errors = backend._write_group(lambda: [good, bad, other], time.monotonic() + 5)
    assert [type(error) for error in errors] == [type(None), sqlite3.IntegrityError, type(None)]
    assert contents(store, "s") == [0, 1, "good"]
    assert contents(store, "t") == ["other"]
    # A turn whose commit was reported as failed, but was done, is not written twice.
    assert backend._write_group(lambda: [taken, bad], time.monotonic() + 5)[0] is None
    assert contents(store, "s") == [0, 1, "good"]


def test_without_wal_it_is_durable_all_the_same(
    opened: Opener, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system, where SQLite cannot share memory."""
    monkeypatch.setattr(module, "_wal", lambda connection: "delete")
    store = opened(f"sqlite:///{path}")
    for number in range(3):
        add(store, "s", number)
    assert contents(store, "s") == [0, 1, 2]
    # A reader is in the way of a commit there; it is waited for.
    reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM appbuilder_session_messages").fetchall()
    timer = threading.Timer(0.3, lambda: reader.execute("COMMIT"))
    timer.start()
    add(store, "s", 3)
    timer.join()
    reader.close()
    assert contents(store, "s") == [0, 1, 2, 3]


def test_a_row_that_is_not_json_is_left_out(
    opened: Opener, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(f"sqlite:///{path}")
    for text in ("first", "damaged", "last"):
        store.commit(turn("s", ("k", text)))
    with sqlite3.connect(path) as foreign:
        foreign.execute(
            "UPDATE appbuilder_session_messages SET message_value = '{broken secret' "
            "WHERE message_value LIKE '%damaged%'"
        )
    foreign.close()
    assert [each["content"] for each in store.history("s", "k", 10)] == ["first", "last"]
    assert "is not JSON" in caplog.text
    assert "secret" not in caplog.text



def test_rows_of_other_programs(opened: Opener, path: Path) -> None:
    store = opened(f"sqlite:///{path}")
    store.prepare()
    with sqlite3.connect(path) as foreign:
        foreign.executemany(
            "INSERT INTO appbuilder_session_messages VALUES (?, 's', 'r', 'query', ?, ?, ?, ?)",
            [("1", '{"content": NaN}', "2020-01-01 00:00:00", "2020-01-01 00:00:00", 0),
             ("2", '"text"', "2020-01-02 00:00:00.500", "2020-01-02 00:00:00", 0),
             ("3", '{"content": "gone"}', "2020-01-03 00:00:00", "2020-01-03 00:00:00", 1)],
        )
    foreign.close()
    add(store, "s", "new")
    got = contents(store, "s")
    assert got[0] != got[0]
    assert got[1:] == ["text", "new"]


class TestDiskFull:
    """By a limit on the database's pages, and on the size of files."""

    def test_pages(self, opened: Opener, path: Path) -> None:
        store = opened(f"sqlite:///{path}")
        add(store, "s", "kept")
        backend = store._live()
        assert isinstance(backend, module.SqliteBackend)
        assert backend._writer is not None
        (pages,) = backend._writer.execute("PRAGMA page_count").fetchone()
        backend._writer.execute(f"PRAGMA max_page_count={pages + 2}")
        with pytest.raises(StoreUnavailable, match="full"):
            add(store, "s", "x" * 100_000)
        add(store, "s", "after")
        assert contents(store, "s") == ["kept", "after"]

    def test_file_size(self, path: Path) -> None:
        code = """if True:
            import resource, sys
            from appbuilder.core.store import TurnRecord
            from appbuilder.errors import StoreUnavailable
            from appbuilder.store.sessions.open_stores import open_store
            store = open_store("sqlite:///" + sys.argv[1])
            def add(number):
                message = {"content": number, "x": "x" * 4000}
                store.commit(TurnRecord("s", "r", [("q", message), ("a", message)]))
            def read(key):
                return [each["content"] for each in store.history("s", key, 10**6)]
            add(0)
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
            acknowledged = [0]
            failed = 0
            for number in range(1, 200):
                try:
                    add(number)
                    acknowledged.append(number)
                except StoreUnavailable:
                    failed += 1
            assert failed, "the limit was not reached"
            assert read("q") == read("a") == acknowledged
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            add(1000)
            assert read("q") == read("a") == [*acknowledged, 1000]
        """
        finish(child(code, str(path)))


class TestReadOnly:
    """Root may write everything, so where the tests run as root another user tries."""

    CODE = """if True:
        import os, sys
        from appbuilder.errors import ConfigurationError, StoreUnavailable
        from appbuilder.settings import Settings
        from appbuilder.store.sessions.open_stores import open_store
        import sqlite3, orjson, pydantic
        if os.getuid() == 0:
            os.setgid(65534); os.setuid(65534)
        try:
            open_store("sqlite:///" + sys.argv[1], Settings(db_timeout=1.0)).prepare()
        except ConfigurationError as error:
            print(error)
    """

    def test_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        folder.mkdir(mode=0o555)
        assert "cannot be written" in self.try_as_nobody(folder / "foo.db")

    def test_file(self, opened: Opener, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        folder.chmod(0o777)
        store = opened(f"sqlite:///{folder}/foo.db")
        add(store, "s", 1)
        store.close()
        (folder / "foo.db").chmod(0o444)
        assert "cannot be written" in self.try_as_nobody(folder / "foo.db")

    def try_as_nobody(self, path: Path) -> str:
        for parent in path.parents:
            if os.stat(parent).st_uid == os.getuid() and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
        return finish(child(self.CODE, str(path)))


def test_a_folder_that_does_not_exist(opened: Opener, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="create it"):
        opened(f"sqlite:///{tmp_path}/nowhere/foo.db").prepare()


def test_a_folder_in_place_of_the_file(opened: Opener, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a folder"):
        opened(f"sqlite:///{tmp_path}").prepare()


def test_a_file_that_is_no_database(opened: Opener, path: Path) -> None:
    path.write_text("hello " * 1000)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        opened(f"sqlite:///{path}").prepare()


def test_a_table_of_another_program(opened: Opener, path: Path) -> None:
    with sqlite3.connect(path) as foreign:
        foreign.execute("CREATE TABLE appbuilder_session_messages (id INTEGER PRIMARY KEY, text TEXT)")
    foreign.close()
    with pytest.raises(ConfigurationError, match="lacks the columns session_id"):
        opened(f"sqlite:///{path}").prepare()


def test_prepare_leaves_nothing_open(opened: Opener, path: Path) -> None:
    opened(f"sqlite:///{path}").prepare()
    assert str(path) not in {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}


def test_in_memory(opened: Opener) -> None:
    store = opened("sqlite://")
    store.prepare()
    threads = [threading.Thread(target=add, args=(store, "s", number)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(contents(store, "s")) == list(range(8))


def test_a_link_and_a_detour_are_the_same_file(tmp_path: Path) -> None:
    from appbuilder.store.sessions.open_stores import open_store

    (tmp_path / "sub").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "foo.db")
    stores = [open_store(f"sqlite:///{tmp_path}/{name}") for name in ("foo.db", "sub/../foo.db", "link.db")]
    assert stores[0] is stores[1] is stores[2]


def test_history_does_not_write(opened: Opener, path: Path) -> None:
    store = opened(f"sqlite:///{path}")
    store.commit(TurnRecord("s", "r", [("query", {"content": 1})]))
    before = fetch(store.url, "SELECT * FROM appbuilder_session_messages")
    store.history("s", "query", 5)
    assert fetch(store.url, "SELECT * FROM appbuilder_session_messages") == before
