"""PostgreSQL and MariaDB that restart, hang, and vanish in the middle of a commit."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, exc
from tests.services.fixtures import SERVERS, server_of
from tests.services.servers import PASSWORD, Server, free_port
from tests.store.conftest import Opener
from tests.store.helpers import add, contents, execute, fetch

from appbuilder.errors import ConfigurationError, StoreUnavailable
from appbuilder.store.databases import client_server as module
from appbuilder.store.sessions.session_store import SqlStore


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    return server_of(request, request.param)


@pytest.fixture
def store(server: Server, opened: Opener) -> SqlStore:
    store = opened(server.new_database(), db_timeout=3.0)
    add(store, "s", 0)
    return store


class Load:
    """Threads that write turns until they are told to stop, and what they were told of each."""

    def __init__(self, store: SqlStore, threads: int = 8) -> None:
        self._store = store
        self._stop = threading.Event()
        self.acknowledged: dict[str, list[int]] = defaultdict(list)
        self.failed: list[float] = []
        self.wrong: list[BaseException] = []
        self._threads = [threading.Thread(target=self._work, args=(f"load-{n}",)) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def _work(self, session: str) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            began = time.monotonic()
            try:
                add(self._store, session, number)
                self.acknowledged[session].append(number)
            except StoreUnavailable:
                self.failed.append(time.monotonic() - began)
                self._stop.wait(0.02)
            except BaseException as error:
                self.wrong.append(error)
                return

    def until(self, condition: Callable[[], bool]) -> None:
        tick = threading.Event()
        for _ in range(4000):
            if condition():
                return
            tick.wait(0.005)
        raise AssertionError("it did not come to that")

    def count(self) -> int:
        return sum(map(len, self.acknowledged.values()))

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        assert not self.wrong, self.wrong
        for session, acknowledged in self.acknowledged.items():
            stored = contents(self._store, session)
            assert stored == contents(self._store, session, "answer"), "no half turn"
            assert stored == sorted(set(stored)), "in order, and none twice"
            assert set(acknowledged) <= set(stored), "what was acknowledged is there"


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_restarts_under_load(server: Server, store: SqlStore, end: str) -> None:
    load = Load(store)
    try:
        load.until(lambda: load.count() >= 40)
        getattr(server, end)()
        load.until(lambda: bool(load.failed))
        server.start()
        reached = load.count() + 40
        load.until(lambda: load.count() >= reached)
    finally:
        load.end()
    load.check()
    assert max(load.failed) < 3 * 3.0 + module.CONNECT_TIMEOUT


def test_the_first_operation_after_a_restart_works(server: Server, store: SqlStore) -> None:
    threads = [threading.Thread(target=contents, args=(store, "s")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for operation in (lambda: contents(store, "s"), lambda: add(store, "s", 1)):
        server.stop()
        with pytest.raises(StoreUnavailable):
            operation()
        server.start()
        operation()
    assert contents(store, "s") == [0, 1]


def test_a_hanging_server_is_an_error_in_bounded_time(server: Server, opened: Opener) -> None:
    store = opened(server.new_database(), db_timeout=1.0)
    add(store, "s", 0)
    ended: list[tuple[str, float]] = []

    def attempt(operation: Callable[[], Any]) -> None:
        began = time.monotonic()
        try:
            operation()
        except StoreUnavailable:
            ended.append(("refused", time.monotonic() - began))

    operations = (lambda: contents(store, "s"), lambda: add(store, "s", 1), store.ping)
    threads = [threading.Thread(target=attempt, args=(operation,)) for operation in operations]
    server.freeze()
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        server.thaw()
    assert [what for what, _ in ended] == ["refused"] * 3
    assert max(took for _, took in ended) < 8
    add(store, "s", 2)
    assert contents(store, "s") in ([0, 2], [0, 1, 2])


class Cut:
    """Breaks the connection around COMMIT, once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
        self.done = False
        real = Connection.commit

        def commit(connection: Any) -> None:
            if self.done:
                return real(connection)
            self.done = True
            if when == "after":
                real(connection)
            connection.invalidate()
            error = exc.OperationalError("COMMIT", None, OSError("gone"), connection_invalidated=True)
            raise error

        monkeypatch.setattr(Connection, "commit", commit)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_connection_lost_during_commit(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    cut = Cut(monkeypatch, when)
    add(store, "s", 1)
    assert cut.done
    assert contents(store, "s") == [0, 1]
    assert contents(store, "s", "answer") == [0, 1]


def test_a_commit_whose_fate_is_unknown_says_so(
    server: Server, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_connect = module.ServerBackend.connect
    cut = Cut(monkeypatch, "after")

    def connect(backend: module.ServerBackend) -> Any:
        if cut.done:
            server.stop()
            monkeypatch.setattr(module.ServerBackend, "connect", real_connect)
        return real_connect(backend)

    monkeypatch.setattr(module.ServerBackend, "connect", connect)
    with pytest.raises(StoreUnavailable, match="unknown"):
        add(store, "s", 1)
    server.start()
    assert contents(store, "s") == [0, 1]


def test_a_session_locked_elsewhere(server: Server, opened: Opener) -> None:
    url = server.new_database()
    first, second = opened(url, db_timeout=1.0), opened(url, db_timeout=1.0)
    add(first, "s", 0)
    backend = first._live()
    assert isinstance(backend, module.ServerBackend)
    with backend.connect() as connection, backend.transaction(connection, "s"):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            add(second, "s", 1)
        assert time.monotonic() - began < 4
        add(second, "other", 1)
        assert contents(second, "s") == [0]
        connection.commit()
    add(second, "s", 2)
    assert contents(first, "s") == [0, 2]


def test_more_threads_than_connections(server: Server, opened: Opener) -> None:
    store = opened(server.new_database(), db_pool=2)
    store.prepare()
    threads = [threading.Thread(target=add, args=(store, f"s{n}", n)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [contents(store, f"s{n}") for n in range(12)] == [[n] for n in range(12)]


class TestStart:
    """What a wrong configuration says, and what it does not say."""

    def refuse(self, opened: Opener, url: Any) -> str:
        with pytest.raises(ConfigurationError) as caught:
            opened(url).prepare()
        text = "".join(__import__("traceback").format_exception(caught.value))
        assert PASSWORD not in text
        assert "wrong-password" not in text
        return str(caught.value)

    def test_nobody_there(self, server: Server, opened: Opener) -> None:
        url = server.url("x").set(port=free_port())
        assert "Start the server" in self.refuse(opened, url)

    def test_wrong_password(self, server: Server, opened: Opener) -> None:
        url = server.url("mysql" if server.account == "mysql" else "postgres").set(password="wrong-password")
        assert "tester" in self.refuse(opened, url)

    def test_no_such_database(self, server: Server, opened: Opener) -> None:
        assert "nowhere" in self.refuse(opened, server.url("nowhere"))

    def test_no_such_host(self, server: Server, opened: Opener) -> None:
        assert "no-such-host" in self.refuse(opened, server.url("x").set(host="no-such-host.invalid"))

    def test_a_program_that_is_running_gets_store_unavailable(self, server: Server, opened: Opener) -> None:
        store = opened(server.url("x").set(port=free_port()))
        with pytest.raises(StoreUnavailable) as caught:
            store.history("s", "query", 1)
        assert PASSWORD not in str(caught.value)


def test_many_starts_at_once_make_one_table(server: Server, opened: Opener) -> None:
    url = server.new_database()
    stores = [opened(url) for _ in range(6)]
    errors: list[BaseException] = []

    def prepare(store: SqlStore) -> None:
        try:
            store.prepare()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=prepare, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    schema = "DATABASE()" if server.account == "mysql" else "'public'"
    tables = fetch(url, f"SELECT table_name FROM information_schema.tables WHERE table_schema = {schema}")
    assert tables == [("appbuilder_session_messages",)]


SDK_TABLE = """CREATE TABLE appbuilder_session_messages (
    id VARCHAR(36) NOT NULL, session_id VARCHAR(36) NOT NULL, request_id VARCHAR(36) NOT NULL,
    message_key VARCHAR(128) NOT NULL, message_value JSON NOT NULL, created_at {time} NOT NULL,
    updated_at {time} NOT NULL, deleted BOOL NOT NULL, PRIMARY KEY (id), UNIQUE (id)) {more}"""
SDK_ROW = """INSERT INTO appbuilder_session_messages VALUES ('1', 's', 'r', 'query', '{"content": "old"}',
    '2024-07-30 15:01:10', '2024-07-30 15:01:10', false)"""


def test_a_table_made_by_the_sdk_is_taken_over(server: Server, opened: Opener) -> None:
    url = server.new_database()
    mysql = server.account == "mysql"
    more = "CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci" if mysql else ""
    table = SDK_TABLE.format(time="DATETIME" if mysql else "TIMESTAMP", more=more)
    execute(url, table, SDK_ROW.replace(":", "\\:"))
    store = opened(url)
    for number in range(5):
        add(store, "s", number)
        add(store, "S", "another session")
    assert contents(store, "s") == ["old", 0, 1, 2, 3, 4]
    assert contents(store, "S") == ["another session"] * 5


def test_mariadb_keeps_microseconds_and_compares_by_code_point(mariadb: Server, opened: Opener) -> None:
    url = mariadb.new_database()
    add(opened(url), "s", 1)
    columns = dict(fetch(url, "SELECT column_name, column_type FROM information_schema.columns "
                              "WHERE table_schema = DATABASE()"))
    assert columns["created_at"] == columns["updated_at"] == "datetime(6)"
    collations = dict(fetch(url, "SELECT column_name, collation_name FROM information_schema.columns "
                                 "WHERE table_schema = DATABASE() AND column_type LIKE 'varchar%'"))
    assert set(collations.values()) == {"utf8mb4_nopad_bin"}


def test_postgresql_commits_before_it_answers(postgres: Server, opened: Opener) -> None:
    """Also where the administrator chose speed over durability."""
    url = postgres.new_database()
    postgres.execute(f"ALTER DATABASE {url.database} SET synchronous_commit = off")
    backend = opened(url)._live()
    assert isinstance(backend, module.ServerBackend)
    with backend.connect() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
