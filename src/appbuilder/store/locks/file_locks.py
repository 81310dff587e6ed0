"""Locks of sessions on SQLite: byte ranges of files next to the database, locked by the operating system.

SQLite's own locks are of the same kind. The kernel gives them back however a process ends, no clock and no
expiry is needed, and nothing is written. Measured on ext4: 2 µs to lock and unlock; a lease row costs 690 µs
a turn, 64 µs with 32 turns in a group, as both its changes have to reach the disk.

A process has one descriptor of such a file, shared by all who use the database: when any descriptor of a
file is closed, all locks the process has there are gone (``man 2 fcntl``). The kernel looks through all locks
of a file for each (5,000 held: 100 µs), so there are several files.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Callable

from appbuilder.core.cancel import CancelToken
from appbuilder.core.locks import SessionLock
from appbuilder.errors import StoreUnavailable
from appbuilder.fork_safe import ForkSafe
from appbuilder.store.databases.client_server import digest
from appbuilder.store.databases.failure_kinds import kind_of
from appbuilder.store.locks.base import wait_for

with contextlib.suppress(ImportError):  # on Windows there are no such locks, and no one asks for these
    import fcntl

SUFFIX = "-turns"
"""Of the folder, after the database's own name."""
FILES = 16
_FURTHEST = 2**62
"""Offsets a lock may have; two sessions with the same one would only wait for each other."""


class FileLocks:
    """A :class:`appbuilder.core.locks.SessionLocks` for the processes of one machine."""

    def __init__(self, database: Callable[[], str]) -> None:
        self._database = database
        self._folder = ""
        self._mine: set[_FileLock] = set()
        self._pid = os.getpid()

    def try_acquire(self, session_id: str) -> SessionLock | None:
        return self._try(*self._place(session_id))

    def acquire(self, session_id: str, timeout: float, token: CancelToken) -> SessionLock:
        path, offset = self._place(session_id)
        return wait_for(lambda: self._try(path, offset), timeout, token)

    def close(self) -> None:
        for lock in list(self._mine):
            lock.release()
        _files.get().leave(self)

    def _place(self, session_id: str) -> tuple[str, int]:
        self._folder = self._folder or self._database() + SUFFIX
        number = int.from_bytes(digest("turn", session_id), "big")
        return f"{self._folder}/{number % FILES:x}", number // FILES % _FURTHEST

    def _try(self, path: str, offset: int) -> _FileLock | None:
        if self._pid != os.getpid():  # what a parent held, a child does not
            self._pid, self._mine = os.getpid(), set()
        try:
            lock = _FileLock(_files.get().get(path, self), offset, self._mine)
            if not lock.file.take(offset, lock):
                return None
        except OSError as error:
            raise unusable(self._folder, error) from None
        self._mine.add(lock)
        return lock


class _FileLock:
    __slots__ = ("_mine", "file", "offset", "waited")

    def __init__(self, file: _File, offset: int, mine: set[_FileLock]) -> None:
        self.file = file
        self.offset = offset
        self.waited = False
        self._mine = mine

    def check(self) -> None:
        if not (self.file.holds(self.offset, self) and self.file.in_place()):
            raise StoreUnavailable("The lock of the session was lost: its file was deleted or replaced.")

    def release(self) -> None:
        self.file.give(self.offset, self)
        self._mine.discard(self)


class _File:
    """One lock file, open in this process once."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = open_lock_file(path)
        self._identity = identity(os.fstat(self._descriptor))
        self._lock = threading.Lock()
        self._held: dict[int, _FileLock] = {}
        self._retired = False
        self.users: set[FileLocks] = set()

    def in_place(self) -> bool:
        """Whether other processes find this very file under its name."""
        try:
            return identity(os.stat(self._path)) == self._identity
        except OSError:
            return False

    def take(self, offset: int, lock: _FileLock) -> bool:
        # The system would let a process lock what it has locked already.
        with self._lock:
            if offset in self._held or self._retired:
                return False
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
            except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: another process has it
                return False
            self._held[offset] = lock
            return True

    def holds(self, offset: int, lock: _FileLock) -> bool:
        return self._held.get(offset) is lock

    def give(self, offset: int, lock: _FileLock) -> None:
        with self._lock:
            if self._held.get(offset) is lock:
                with contextlib.suppress(OSError):
                    fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, offset)
                del self._held[offset]
                self._close_if_done()

    def retire(self) -> None:
        """Closes the file, once no one holds anything there."""
        with self._lock:
            self._retired = True
            self._close_if_done()

    def _close_if_done(self) -> None:
        if self._retired and not self._held and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _Files:
    """The lock files this process has open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, _File] = {}

    def get(self, path: str, user: FileLocks) -> _File:
        file = self._open.get(path)
        if file is not None and user in file.users and file.in_place():
            return file
        with self._lock:
            file = self._open.get(path)
            if file is None or not file.in_place():
                new = _File(path)  # without one, the present file may still come back
                if file is not None:
                    file.retire()
                file = self._open[path] = new
            file.users.add(user)
            return file

    def leave(self, user: FileLocks) -> None:
        with self._lock:
            for path, file in list(self._open.items()):
                if user in file.users:
                    file.users.discard(user)
                    if not file.users:
                        del self._open[path]
                        file.retire()


_files: ForkSafe[_Files] = ForkSafe(_Files)


def open_lock_file(path: str) -> int:
    """Opens a lock file; makes it, with the owner and the rights of the database, where it is missing."""
    folder, flags = os.path.dirname(path), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, flags)
    like = os.stat(folder.removesuffix(SUFFIX))
    rights = stat.S_IMODE(like.st_mode) & 0o666
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
        _make_like(folder, like, rights | rights >> 2 & 0o111)
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another process was faster
        return os.open(path, flags)
    _make_like(descriptor, like, rights)
    return descriptor


def _make_like(what: str | int, like: os.stat_result, rights: int) -> None:
    """As SQLite does with its own files: a visit by root must not shut out the service's user."""
    os.chmod(what, rights)
    if os.geteuid() == 0:
        os.chown(what, like.st_uid, like.st_gid)


def unusable(where: str, error: OSError) -> StoreUnavailable:
    """The error to raise instead of what the system said."""
    why = error.strerror or type(error).__name__
    text = f"The session locks in {where} cannot be used: {why}."
    return StoreUnavailable(text, reason=kind_of(error).reason)


def identity(status: os.stat_result) -> tuple[int, int]:
    """What tells a file from one of the same name."""
    return status.st_dev, status.st_ino
