"""An exclusive lock on a file, which the kernel takes back when its holder dies.

Not the ``filelock`` package: the model's process takes the lock before it forks itself off, and the lock
has to pass to the child.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


class FileLock:
    """Never waits, so that it cannot stop an event loop: who wants to wait asks again.

    Two objects on one path exclude each other in one process as well. The file stays: removing it would
    let two holders lock two files of one name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def acquire(self) -> bool:
        """Takes the lock; False when another process has it.

        :raises OSError: the file cannot be made, or its file system has no locks.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(fd)
        except (BlockingIOError, PermissionError):
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return True

    def release(self) -> None:
        """Gives the lock back; does nothing without it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
