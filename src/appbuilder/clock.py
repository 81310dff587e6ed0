"""The time, in one place, so that a test can set it back an hour."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The current time in UTC without a zone, with microseconds: what the table's columns hold."""
    return datetime.now(UTC).replace(tzinfo=None)


def unix_milliseconds() -> int:
    """Whole milliseconds since 1970 in UTC."""
    return time.time_ns() // 1_000_000


monotonic = time.monotonic
