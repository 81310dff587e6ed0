"""The folder Chainlit takes for its root: one per process, in the user's cache, gone with the process.

Chainlit writes its configuration, its translations and uploaded files below its root, which is fixed when it
is imported; left alone it takes the working directory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from appbuilder.models.local.file_lock import FileLock

_PREFIX = "page-"
_LOCK = "in-use"


class PageFolder:
    """A folder of this process's own. Those of processes that were killed are removed on the way."""

    def __init__(self, cache: Path) -> None:
        """:raises OSError: *cache* cannot be written."""
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(cache)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=cache))
            self._lock = FileLock(self.path / _LOCK)
            # Else another process sweeps at this very moment, and takes it for a dead one's, or did so
            # already.
            if self._lock.acquire() and (self.path / _LOCK).exists():
                break
            self._lock.release()

    def remove(self) -> None:
        """Removes the folder with all that is in it."""
        self._lock.release()
        shutil.rmtree(self.path, ignore_errors=True)


def _sweep(cache: Path) -> None:
    for folder in cache.glob(_PREFIX + "*"):
        lock = FileLock(folder / _LOCK)
        with contextlib.suppress(OSError):
            # A folder without a lock file is one that is just being made.
            if os.path.exists(folder / _LOCK) and lock.acquire():
                shutil.rmtree(folder, ignore_errors=True)
                lock.release()
