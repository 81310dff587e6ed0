"""Which file the connections to a SQLite database are to.

It may be deleted, or replaced by a copy, while a service runs. Its connections do not notice: what is written
to a file without a name is lost, though it was acknowledged.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3

from appbuilder.store.locks.file_locks import identity

LOOK_EVERY = 0.2
"""Seconds between two looks of those who only read."""
LEAST_SPACE = 512 * 1024
"""Bytes that must be free on the disk: room in the log that is there already may take a while to fill."""
_NOWHERE = (0, 0)


def make_private(path: str) -> None:
    """Makes a database's file where it is missing, for its owner alone, whatever the umask: SQLite would let
    everybody read it. The log and its index get the same rights from SQLite.
    """
    with contextlib.suppress(OSError):  # that it is there already, or what SQLite says in a moment
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)


class DatabaseFile:
    """The file that the first connection opened, and what its name leads to now."""

    def __init__(self) -> None:
        self._path = ""
        self.opened: tuple[int, int] | None = None
        """Tells the file from others of its name; None: no connection was opened yet."""

    def is_open(self, connection: sqlite3.Connection) -> None:
        """To be notified of connections."""
        if self.opened is None:
            ((_, _, self._path), *_) = connection.execute("PRAGMA database_list").fetchall()
            self.take()

    def take(self) -> None:
        """All connections are to the file that is there now."""
        self.opened = self._now()

    def is_other_file(self) -> bool:
        """Whether it was deleted or replaced since."""
        return self.opened is not None and self._now() != self.opened

    def is_replaced(self) -> bool:
        """Whether another file stands in its place. To read from one that was only deleted does no harm, but
        would make an empty one.
        """
        return self.opened is not None and self._now() not in (_NOWHERE, self.opened)

    def check_space(self) -> None:
        """:raises OSError: there is no space left for turns."""
        if not self._path or not hasattr(os, "statvfs"):
            return
        found = os.statvfs(os.path.dirname(self._path))
        blocks = found.f_bfree if os.geteuid() == 0 else found.f_bavail  # some are kept for root
        if blocks * found.f_frsize < LEAST_SPACE:
            raise OSError(errno.ENOSPC, f"less than {LEAST_SPACE // 1024} KiB are free")

    def _now(self) -> tuple[int, int]:
        try:
            return identity(os.stat(self._path))
        except OSError:
            return _NOWHERE
