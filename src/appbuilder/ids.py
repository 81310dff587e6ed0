"""Ids, in one place: UUIDs in their 36-character form, as the SDK's tables hold them.

Names that must not be guessed are random; rows have ids that begin with the time, so that an index of them
grows
at its end; rows of which there must be one only, whoever writes them, have derived ids.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from typing import TypeGuard

from appbuilder import clock

_BATCH = 128
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_ready: list[str] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ready.clear)  # a child must not hand out its parent's ids


def new_id() -> str:
    """A random id: 36 characters, 122 random bits, fit as a session's name that cannot be guessed.

    The text of a ``uuid.uuid4()`` (RFC 9562, section 5.4). A turn needs five, so the system is asked for
    many at a time: asking once each took a third of an echo's time on threads.
    """
    while True:
        try:
            return _ready.pop()
        except IndexError:
            digits = os.urandom(16 * _BATCH).hex()
            each = [digits[at : at + 32] for at in range(0, len(digits), 32)]
            # Written out: a call less for each id.
            _ready.extend(
                [f"{d[:8]}-{d[8:12]}-4{d[13:16]}-{_VARIANT[d[16]]}{d[17:20]}-{d[20:]}" for d in each]
            )


def new_row_id() -> str:
    """The id of a new row: a UUID of version 7 (RFC 9562, section 5.7), the time in milliseconds and 74
    random bits.

    Random ids would lie all over the index that keeps them unique, and each row of a turn would write a page
    of it by itself: groups of 22 turns took SQLite a quarter longer.
    """
    time = f"{clock.unix_milliseconds():012x}"
    return f"{time[:8]}-{time[8:12]}-7{new_id()[15:]}"


def worker_name() -> str:
    """This process among those of a service: ``host:pid``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def is_new_id(value: object) -> TypeGuard[str]:
    """Whether *value* has the form of an id made here that is not derived; browsers make such ones too."""
    return isinstance(value, str) and _FORM.fullmatch(value) is not None


def derived_id(kind: str, name: str) -> str:
    """The id of the one row of a *kind* that belongs to *name*: every process derives the same.

    A UUID of version 8 (RFC 9562, section 5.8). Its first 32 bits stand for the kind alone, so that in a
    database that keeps rows in the order of their ids (InnoDB does) rows of a kind lie side by side.
    """
    first = hashlib.blake2b(kind.encode(), digest_size=4).hexdigest()
    name_bytes = name.encode("utf-8", "surrogatepass")
    rest = hashlib.blake2b(name_bytes, digest_size=12, person=kind.encode()[:16]).hexdigest()
    digits = first + rest
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"
