"""One turn per session over all processes on a database: SQLite, PostgreSQL, MariaDB."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest
from sqlalchemy.engine import URL
from tests.services.fixtures import SERVERS, server_of
from tests.services.servers import Server
from tests.store.conftest import Opener
from tests.store.helpers import add, child, contents, finish, is_free, show, take

from appbuilder.core.cancel import CancelToken
from appbuilder.core.locks import SessionLock
from appbuilder.errors import SessionBusy, StoreUnavailable, TurnCancelled
from appbuilder.ids import new_id

BEGIN = """if True:
    import os, sys, threading
    from appbuilder.core.cancel import CancelToken
    from appbuilder.settings import Settings
    from appbuilder.store.sessions.open_stores import open_store
    store = open_store(sys.argv[1], Settings(db_timeout=30.0))
    locks = store.session_locks()
    def take(session, timeout=60.0):
        return locks.try_acquire(session) or locks.acquire(session, timeout, CancelToken())
"""


def test_processes_take_turns(database_url: URL, opened: Opener, tmp_path: Path) -> None:
    """Each adds to numbers in files by reading and writing them, which loses some without a lock."""
    opened(database_url).prepare()
    code = BEGIN + """
    from pathlib import Path
    def work(number):
        for _ in range(10):
            for session in ("a", "b"):
                lock = take(session)
                file = Path(sys.argv[2]) / session
                count = int(file.read_text())
                os.sched_yield()
                file.write_text(str(count + 1))
                lock.check()
                lock.release()
    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    store.close()
    """
    for name in ("a", "b"):
        (tmp_path / name).write_text("0")
    processes = [child(code, show(database_url), str(tmp_path)) for _ in range(3)]
    for process in processes:
        finish(process)
    assert [(tmp_path / name).read_text() for name in ("a", "b")] == ["90", "90"]


def test_a_process_that_dies_holds_nothing(database_url: URL, opened: Opener) -> None:
    store = opened(database_url)
    store.prepare()
    code = BEGIN + """
    lock = take("s")
    print("held", flush=True)
    sys.stdin.readline()
    """
    holder = child(code, show(database_url))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(SessionBusy, match="still answering"):
        take(store, "s", 0.05)
    take(store, "another").release()
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    lock = take(store, "s")
    lock.check()
    lock.release()


class Waiter(CancelToken):
    """Tells when somebody who waits was refused."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = threading.Event()

    def sleep(self, seconds: float) -> None:
        self.refused.set()
        super().sleep(seconds)


def test_who_waited_is_told(database_url: URL, opened: Opener) -> None:
    one, other = opened(database_url), opened(database_url)
    first, token = take(one, "s"), Waiter()
    assert not first.waited
    got: list[SessionLock] = []
    waiter = threading.Thread(target=lambda: got.append(take(other, "s", token=token)))
    waiter.start()
    assert token.refused.wait(30)
    first.release()
    waiter.join()
    assert got[0].waited
    got[0].check()
    got[0].release()
    take(one, "s").release()


def test_a_cancel_ends_the_wait(database_url: URL, opened: Opener) -> None:
    one, other = opened(database_url), opened(database_url)
    held, token = take(one, "s"), Waiter()
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            take(other, "s", 3600, token)
        except TurnCancelled as error:
            caught.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert token.refused.wait(30)
    token.cancel()
    waiter.join(30)
    assert len(caught) == 1
    held.release()
    take(other, "s").release()


def test_a_release_counts_once(database_url: URL, opened: Opener) -> None:
    """A lock that was given back twice must not take the session from who has it by then."""
    store = opened(database_url)
    first = take(store, "s")
    first.release()
    second = take(store, "s")
    first.release()
    with pytest.raises(StoreUnavailable):
        first.check()
    second.check()
    assert not is_free(store, "s")
    second.release()


def test_within_a_process_too(database_url: URL, opened: Opener) -> None:
    """The system, and a server's connection, would give a session to its holder a second time."""
    store = opened(database_url)
    held = take(store, "s")
    assert not is_free(store, "s")
    held.release()
    take(store, "s").release()


def test_thousands_at_once(database_url: URL, opened: Opener) -> None:
    store, other = opened(database_url), opened(database_url)
    ids = [new_id() for _ in range(2000)]
    held: list[SessionLock] = []
    threads = [threading.Thread(target=lambda n=n: held.extend(take(store, each) for each in ids[n::20]))
               for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 2000
    assert not any(is_free(other, each) for each in ids[::100])
    for lock in held:
        lock.check()
        lock.release()
    for each in ids[::100]:
        take(other, each).release()


def test_a_close_gives_all_up(database_url: URL, opened: Opener) -> None:
    one, other = opened(database_url), opened(database_url)
    lost, kept = take(one, "s"), take(other, "kept")
    one.close()
    take(other, "s").release()
    with pytest.raises(StoreUnavailable):
        lost.check()
    lost.release()
    kept.check()
    assert not is_free(one, "kept"), "a store that was closed opens again"
    kept.release()


def test_a_child_holds_nothing_of_its_parents(database_url: URL, opened: Opener) -> None:
    """After a fork each has its own; the child's end takes nothing from the parent."""
    opened(database_url).prepare()
    code = BEGIN + """
    from appbuilder.errors import SessionBusy
    lock = take("s")
    child = os.fork()
    if child == 0:
        try:
            take("s", 0.0)
        except SessionBusy:
            take("t").check()
            lock.release()
            store.close()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    lock.check()
    if os.fork() == 0:
        try:
            take("s", 0.0)
        except SessionBusy:
            os._exit(0)
        os._exit(1)
    assert os.wait()[1] == 0, "a child that closed gave up what its parent holds"
    lock.release()
    take("t").release()
    print("ok")
    """
    assert finish(child(code, show(database_url))) == "ok\n"


# Servers


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    return server_of(request, request.param)


def test_a_restart_of_the_database(server: Server, opened: Opener) -> None:
    store = opened(server.new_database())
    store.prepare()
    lock = take(store, "s")
    lock.check()
    server.crash()
    try:
        with pytest.raises(StoreUnavailable, match="lost"):
            lock.check()
        with pytest.raises(StoreUnavailable):
            take(store, "t")
    finally:
        server.start()
    lock.release()
    take(store, "s").release()
    with pytest.raises(StoreUnavailable):
        lock.check()


def test_a_restart_between_turns_is_not_noticed(server: Server, opened: Opener) -> None:
    store = opened(server.new_database())
    take(store, "s").release()
    server.stop()
    server.start()
    take(store, "s").release()


def test_a_server_that_hangs(server: Server, opened: Opener) -> None:
    store = opened(server.new_database(), db_timeout=1.0)
    lock = take(store, "s")
    server.freeze()
    try:
        with pytest.raises(StoreUnavailable):
            take(store, "t")
        with pytest.raises(StoreUnavailable):
            lock.check()
    finally:
        server.thaw()
    take(store, "s").release()


def test_locks_of_two_databases_are_apart(server: Server, opened: Opener) -> None:
    one, other = opened(server.new_database()), opened(server.new_database())
    held = take(one, "s")
    assert is_free(other, "s")
    held.release()


def test_a_turn_can_be_written_meanwhile(server: Server, opened: Opener) -> None:
    """The locks of turns are not those of the transactions they are written in."""
    store = opened(server.new_database())
    held = take(store, "s")
    add(store, "s", 1)
    assert contents(store, "s") == [1]
    held.release()
