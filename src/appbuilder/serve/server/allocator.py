"""The C library's allocator, set for a server of many threads."""

from __future__ import annotations

import contextlib
import ctypes
import os

_MMAP_THRESHOLD = -3
_TRIM_THRESHOLD = -1
_ARENA_MAX = -8
_CHOICES = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
_LARGE = 512 * 1024


def set_up_allocator() -> None:
    """Makes glibc give large blocks back at once, and keep two arenas and not eight for each core.

    Left as it is, it reserves 64 MiB of addresses for each arena, which a limit of addresses counts, and
    keeps large blocks once one was freed. Where the environment says what to do, or the library is another,
    nothing is changed.
    """
    if any(name in os.environ for name in _CHOICES):
        return
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_ARENA_MAX, 2)
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, 2 * _LARGE)
