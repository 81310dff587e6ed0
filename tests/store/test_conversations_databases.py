"""The catalogue of a database others write to as well: processes, the SDK, programs that are late."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, inspect, text
from sqlalchemy.engine import URL
from tests.services.fixtures import SERVERS, server_of
from tests.store.conftest import Opener
from tests.store.helpers import add, child, contents, entry_turn, execute, fetch, finish, show

from appbuilder import clock
from appbuilder.core.conversations import Rating
from appbuilder.errors import StoreUnavailable
from appbuilder.ids import new_id
from appbuilder.store.conversations.queries import ACTIVITY_INDEX, CONVERSATIONS_INDEX
from appbuilder.store.databases.client_server import ServerBackend
from appbuilder.store.databases.sqlite import SqliteBackend

DATA = Path(__file__).parent / "data"
TABLE = "appbuilder_session_messages"
COMPONENTS_ROWS = f"SELECT * FROM {TABLE} WHERE substr(message_key, 1, 12) <> '_appbuilder.' ORDER BY id"
INSERT = text(
    f"INSERT INTO {TABLE} "
    "VALUES (:id, :session, 'r', 'query', '{\"content\"\\: \"late\"}', :at, :at, false)"
)


def names(repository: Any, *owners: str | None) -> list[str]:
    return [each.session_id for each in repository.page(owners, limit=10_000).conversations]


BEGIN = """if True:
    import sys
    from appbuilder.core.conversations import Rating
    from appbuilder.core.store import TurnEntry, TurnRecord
    from appbuilder.ids import new_id
    from appbuilder.settings import Settings
    from appbuilder.store.sessions.open_stores import open_store
    store = open_store(sys.argv[1], Settings(db_timeout=30.0))
    catalogue = store.repository()
    me = sys.argv[2]
    sys.stdin.readline()
"""


def run_both(url: URL, code: str) -> list[str]:
    """The output of two processes that do the same at once, as ``a`` and as ``b``."""
    workers = [child(BEGIN + code, show(url), name) for name in "ab"]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    return [finish(worker) for worker in workers]


def test_two_processes_begin_the_same_conversations(database_url: URL, opened: Opener) -> None:
    """Each is that of who came first, and the other, who is refused, has nothing in it."""
    store = opened(database_url)
    store.prepare_conversations()
    outputs = run_both(database_url, """
    from appbuilder.errors import NotFound
    for number in range(60):
        entry = TurnEntry(new_id(), me, f"{number} of {me}", {"state": "complete"})
        try:
            store.commit(TurnRecord(f"s{number}", "r", [("query", {"content": me})], entry))
            print(f"s{number}")
        except NotFound:
            pass
        catalogue.page([None, me])
    """)
    assert names(store.repository(), None) == []
    for owner, output in zip("ab", outputs, strict=True):
        assert sorted(output.split()) == sorted(names(store.repository(), owner))
    assert sorted(" ".join(outputs).split()) == sorted(f"s{n}" for n in range(60))
    for session_id in names(store.repository(), "a"):
        found = store.repository().find(session_id)
        assert found is not None
        assert found.title.endswith("of a")
        assert contents(store, session_id) == ["a"]
        assert found.updated_at == store.repository().rows(session_id, 1)[0].created_at


def test_two_processes_list_what_neither_began(database_url: URL, opened: Opener) -> None:
    store = opened(database_url)
    for number in range(150):
        add(store, f"s{number}", number)
    before = fetch(database_url, COMPONENTS_ROWS)
    outputs = run_both(database_url, """
    store.prepare_conversations()
    print(len(catalogue.page([None], limit=1000).conversations))
    """)
    assert outputs == ["150\n"] * 2
    assert len(names(store.repository(), None)) == 150
    assert fetch(database_url, COMPONENTS_ROWS) == before


def test_a_deleted_conversation_stays_deleted(database_url: URL, opened: Opener) -> None:
    """One process deletes what the other is about to list."""
    store = opened(database_url)
    store.prepare_conversations()
    for number in range(80):
        add(store, f"s{number}", number)
    run_both(database_url, """
    if me == "a":
        for number in range(80):
            assert catalogue.delete(f"s{number}")
    else:
        for _ in range(40):
            catalogue._followers = None
            catalogue.page([None])
    """)
    assert names(store.repository(), None) == []
    assert fetch(database_url, f"SELECT count(*) FROM {TABLE} WHERE NOT deleted") == [(0,)]


def test_ratings_of_two_processes_are_one(database_url: URL, opened: Opener) -> None:
    store = opened(database_url)
    turn = entry_turn("s", "alice", "Hello", row_id="t" * 36)
    store.commit(turn)
    run_both(database_url, """
    for number in range(20):
        assert catalogue.rate("t" * 36, Rating(me == "a", f"{me} {number}"))
    """)
    ratings = [row.value for row in store.repository().rows("s", 10) if "feedback" in row.key]
    assert len(ratings) == 1
    assert ratings[0]["comment"] in ("a 19", "b 19")


def test_a_commit_that_becomes_visible_late(database_url: URL, opened: Opener) -> None:
    """Its rows carry a time from before others that were seen already."""
    store = opened(database_url)
    store.prepare_conversations()
    add(store, "early", 1)
    assert names(store.repository(), None) == ["early"]
    engine = create_engine(store.url)
    if engine.name == "sqlite":  # the only one that lets nobody else write meanwhile
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN DEFERRED"))
    with engine.connect() as connection:
        stamp = clock.now() - timedelta(seconds=20)
        connection.execute(INSERT, {"id": new_id(), "session": "late", "at": stamp})
        if engine.name != "sqlite":
            add(store, "meanwhile", 2)
        assert "late" not in names(store.repository(), None)
        connection.commit()
    engine.dispose()
    assert names(store.repository(), None)[-1] == "late"


@pytest.mark.parametrize("hours", [-8, 8, -24 * 365, 24 * 365])
def test_a_program_that_writes_another_time(database_url: URL, opened: Opener, hours: int) -> None:
    """What is there when the page starts is listed whatever its time; what is later, also from the future."""
    store = opened(database_url)
    add(store, "ours", 1)
    engine = create_engine(store.url)
    with engine.begin() as connection:
        stamp = clock.now() + timedelta(hours=hours)
        connection.execute(INSERT, {"id": new_id(), "session": "other", "at": stamp})
    assert sorted(names(store.repository(), None)) == ["other", "ours"]
    add(store, "new", 1)
    add(store, "other", 2)
    assert sorted(names(store.repository(), None)) == ["new", "other", "ours"]
    if hours > 0:
        with engine.begin() as connection:
            connection.execute(INSERT, {"id": new_id(), "session": "more", "at": stamp})
        assert "more" in names(store.repository(), None)
    engine.dispose()


def test_the_indexes_are_the_pages(database_url: URL, opened: Opener) -> None:
    store = opened(database_url)
    store.prepare()
    entry = entry_turn("s", "alice", "Hello")
    store.commit(entry)
    assert names(store.repository(), "alice", None) == ["s"], "slow, but it works without them"
    assert indexes(database_url) == set()
    for _ in range(2):
        opened(database_url).prepare_conversations()
        wanted = {CONVERSATIONS_INDEX, ACTIVITY_INDEX}
        if database_url.get_backend_name() == "sqlite":
            wanted -= {ACTIVITY_INDEX}
            tables = fetch(database_url, "SELECT name FROM sqlite_master WHERE type = 'table'")
            assert tables == [(TABLE,)]
        assert indexes(database_url) == wanted


def indexes(url: URL) -> set[str]:
    """Those a table without a page does not have."""
    engine = create_engine(url if url.get_backend_name() == "sqlite" else show(url))
    found = {str(index["name"]) for index in inspect(engine).get_indexes(TABLE)}
    engine.dispose()
    return {name for name in found if name in (CONVERSATIONS_INDEX, ACTIVITY_INDEX)}


def test_pages_ask_only_for_what_is_new(database_url: URL, opened: Opener) -> None:
    """Nothing is written, and no session looked at, while nothing happens."""
    store = opened(database_url)
    store.prepare_conversations()
    for number in range(30):
        add(store, f"s{number}", number)
    repository = store.repository()
    assert len(names(repository, None)) == 30
    names(repository, None)
    backend: Any = store._live()
    asked: list[str] = []
    real = backend.read

    def read(sql: str, parameters: tuple[Any, ...]) -> Any:
        asked.append(sql)
        return real(sql, parameters)

    backend.read = read
    backend.transact = backend.change = None
    names(repository, None)
    assert len([sql for sql in asked if " IN (" in sql or "UNION ALL" in sql]) == 0
    assert len(asked) <= 4


class TestSdkFile:
    """A file the SDK wrote."""

    @pytest.fixture(params=["sdk-utc.db", "sdk-shanghai.db"])
    def url(self, request: pytest.FixtureRequest, tmp_path: Path) -> str:
        return f"sqlite:///{shutil.copy(DATA / request.param, tmp_path / 'user_session.db')}"

    def test_it_is_listed_renamed_and_deleted(self, url: str, opened: Opener) -> None:
        before = fetch(url, COMPONENTS_ROWS)
        store = opened(url)
        store.prepare_conversations()
        repository = store.repository()
        found = repository.page([None]).conversations
        assert [(each.session_id, each.owner, each.title) for each in found] == [
            ("sdk-session-2", None, "问题 1"), ("sdk-session-1", None, "问题 1"),
        ]
        assert repository.rename("sdk-session-1", "天气")
        assert [each.title for each in repository.page([None], search="天").conversations] == ["天气"]
        rated = repository.rows("sdk-session-1", 1)[0]
        assert repository.rate(rated.id, Rating(True))
        assert contents(store, "sdk-session-1") == ["问题 1", "问题 2", "问题 3"]
        assert fetch(url, COMPONENTS_ROWS) == before
        add(store, "sdk-session-1", "on")
        assert [each.title for each in repository.page([None]).conversations] == ["天气", "问题 1"]
        assert repository.delete("sdk-session-1")
        kept = fetch(url, COMPONENTS_ROWS)
        mine = [row for row in before if row.session_id == "sdk-session-1"]
        flagged = [tuple(row)[:-1] for row in kept if row.id in {one.id for one in mine}]
        assert flagged == [tuple(row)[:-1] for row in mine], "only the flag is another"
        assert names(repository, None) == ["sdk-session-2"]


class TestSqlite:
    """Where it follows the numbers of the rows."""

    def test_numbers_that_are_given_again(self, tmp_path: Path, opened: Opener) -> None:
        url = f"sqlite:///{tmp_path}/foo.db"
        store = opened(url)
        for number in range(10):
            add(store, f"s{number}", number)
        for _ in range(2):  # the second look goes past the rows the first has made
            assert len(names(store.repository(), None)) == 10
        execute(url, f"DELETE FROM {TABLE} WHERE rowid > 24")
        for number in range(3):
            add(store, f"new{number}", number)
        assert names(store.repository(), None)[:3] == ["new2", "new1", "new0"]
        assert len(names(store.repository(), None)) == 13

    def test_a_file_that_was_replaced(self, tmp_path: Path, opened: Opener) -> None:
        store = opened(f"sqlite:///{tmp_path}/foo.db")
        add(store, "old", 1)
        assert names(store.repository(), None) == ["old"]
        (tmp_path / "foo.db").unlink()
        add(store, "new", 1)
        assert names(store.repository(), None) == ["new"]

    def test_a_forked_child(self, tmp_path: Path) -> None:
        code = """if True:
            import os, sys
            from appbuilder.core.store import TurnRecord
            from appbuilder.store.sessions.open_stores import open_store
            store = open_store(sys.argv[1])
            catalogue = store.repository()
            def add(name):
                store.commit(TurnRecord(name, "r", [("query", {"content": name})]))
            add("before")
            store.prepare_conversations()
            parents = catalogue._followers[1]
            parents._lock.acquire()
            if os.fork() == 0:
                add("child")
                assert [each.title for each in catalogue.page([None]).conversations] == ["child", "before"]
                os._exit(0)
            assert os.wait()[1] == 0
            parents._lock.release()
            print([each.title for each in catalogue.page([None]).conversations])
        """
        assert finish(child(code, f"sqlite:///{tmp_path}/foo.db")) == "['child', 'before']\n"

    def test_a_change_waits_for_a_writer(self, tmp_path: Path, opened: Opener) -> None:
        """Deletion is under the lock turns are written under."""
        store = opened(f"sqlite:///{tmp_path}/foo.db", db_timeout=0.2)
        store.commit(entry_turn("s", "alice", "Hello"))
        backend = store._live()
        assert isinstance(backend, SqliteBackend)
        writer = backend._begin(clock.monotonic() + 1)
        with pytest.raises(StoreUnavailable, match="locked"):
            store.repository().delete("s")
        writer.execute("ROLLBACK")
        assert store.repository().delete("s")


@pytest.mark.parametrize("kind", SERVERS)
def test_changes_wait_for_the_lock_of_their_session(
    request: pytest.FixtureRequest, opened: Opener, kind: str
) -> None:
    store = opened(server_of(request, kind).new_database(), db_timeout=1.0)
    for session_id in ("s", "other"):
        store.commit(entry_turn(session_id, "alice", "Hello", row_id=f"turn-{session_id}"))
    backend, repository = store._live(), store.repository()
    assert isinstance(backend, ServerBackend)
    with backend.connect() as connection, backend.transaction(connection, "s"):
        changes: list[Callable[[], bool]] = [
            lambda: repository.delete("s"),
            lambda: repository.rename("s", "x"),
            lambda: repository.rate("turn-s", Rating(True)),
        ]
        for change in changes:
            with pytest.raises(StoreUnavailable):
                change()
        assert repository.delete("other")
        connection.commit()
    assert repository.rename("s", "x")
    assert repository.delete("s")
