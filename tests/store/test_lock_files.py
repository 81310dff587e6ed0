"""The locks of sessions on SQLite are ranges of files beside the database."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest
from tests.store.conftest import Opener
from tests.store.helpers import is_free, take

from appbuilder import clock
from appbuilder.core.locks import SessionLock
from appbuilder.errors import StoreUnavailable
from appbuilder.store.locks import exclusive_lock


def eventually_fails(lock: SessionLock) -> None:
    """Checks until it fails: whether the file is there is looked at a few times a second."""
    deadline, pause = clock.monotonic() + 30, threading.Event()
    while clock.monotonic() < deadline:
        lock.check()
        pause.wait(0.02)


def test_a_lock_file_that_is_replaced(opened: Opener, tmp_path: Path) -> None:
    store = opened(f"sqlite:///{tmp_path}/foo.db")
    lock = take(store, "s")
    for file in (tmp_path / "foo.db-turns").iterdir():
        file.unlink()
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        eventually_fails(lock)
    again = take(store, "s")
    again.check()
    lock.release()
    again.check()
    assert not is_free(store, "s")
    again.release()


def moved(folder: Path, target: Path) -> None:
    """The database with all that lies beside it."""
    for each in list(folder.glob("foo.db*")):
        each.rename(target / each.name)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_database_that_is_moved_away_and_back(opened: Opener, tmp_path: Path, workers: int) -> None:
    store = opened(f"sqlite:///{tmp_path}/foo.db", workers=workers)
    lock = take(store, "s")
    (tmp_path / "away").mkdir()
    moved(tmp_path, tmp_path / "away")
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        eventually_fails(lock)
    lock.release()
    with pytest.raises(StoreUnavailable, match="No such file"):
        take(store, "s")
    reading, writing = os.pipe()  # with the first number that is free: that of a file that was closed
    with pytest.raises(StoreUnavailable, match="No such file"):
        take(store, "s")
    assert os.write(writing, b"x") == len(os.read(reading, 1)), "a stranger's descriptor was closed"
    os.close(reading)
    os.close(writing)
    moved(tmp_path / "away", tmp_path)
    again = take(store, "s")
    again.check()
    assert not is_free(store, "s")
    again.release()
    assert is_free(store, "s")


def test_a_lock_file_that_is_taken_from_us(opened: Opener, tmp_path: Path) -> None:
    """As by code that closes descriptors that are not its own, whose numbers then are of other files."""
    store = opened(f"sqlite:///{tmp_path}/foo.db")
    lock = take(store, "s")
    with open(os.devnull, "rb") as other:
        os.dup2(
            other.fileno(),
            exclusive_lock._process_locks.get()._by_path[f"{tmp_path}/foo.db-turns/all"]._descriptor,
        )
    with pytest.raises(StoreUnavailable, match="lost"):
        eventually_fails(lock)
    lock.release()
    again = take(store, "s")
    again.check()
    again.release()


def test_a_system_without_locks(opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    store = opened(f"sqlite:///{tmp_path}/foo.db")
    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.raises(StoreUnavailable, match="No locks available"):
        take(store, "s")


def test_lock_files_have_the_rights_of_the_database(opened: Opener, tmp_path: Path) -> None:
    store = opened(f"sqlite:///{tmp_path}/foo.db")
    store.prepare()
    (tmp_path / "foo.db").chmod(0o640)
    take(store, "s").release()
    folder = tmp_path / "foo.db-turns"
    assert folder.stat().st_mode & 0o777 == 0o750
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o640}


def test_descriptors_go_with_the_last_store(opened: Opener, tmp_path: Path) -> None:
    def open_files() -> list[str]:
        links = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        return [link for link in links if "foo.db-turns" in link]

    one, other = (opened(f"sqlite:///{tmp_path}/foo.db") for _ in range(2))
    held = take(one, "s")
    assert not is_free(other, "s"), "two stores of one process share the file"
    assert len(open_files()) == 1
    other.close()
    held.check()
    one.close()
    assert open_files() == []


def test_without_a_file_nobody_else_asks(opened: Opener) -> None:
    store = opened("sqlite://")
    lock = store.session_locks().try_acquire("s")
    assert lock is not None
    lock.check()
    lock.release()
