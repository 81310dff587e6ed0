"""How times, numbers and owners are written on the admin page; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from appbuilder.core.conversations import Owner, Place
from appbuilder.errors import InvalidRequest
from appbuilder.serve.admin.translations import Words

NOBODY = "nobody"
"""Stands for the owner None in an address."""
_VISITOR = "visitor:"
_USER = "user:"


@dataclass(frozen=True, slots=True)
class OwnerLabel:
    """An owner on the page. ``value`` is what an address filters by, ``kind`` how it looks."""

    label: str
    value: str
    kind: str


def owner(whose: Owner, words: Words) -> OwnerLabel:
    """How *whose* is shown."""
    if whose is None:
        return OwnerLabel(words["nobody"], NOBODY, "plain")
    if whose in {"local", "anonymous"}:
        return OwnerLabel(words[whose], whose, "plain")
    if whose.startswith(_VISITOR):
        return OwnerLabel(f"{words['visitor']} {whose[len(_VISITOR) :][-8:]}", whose, "plain")
    return OwnerLabel(whose.removeprefix(_USER), whose, "user")


def parse_owners(text: str) -> Sequence[Owner] | None:
    """The owners that may be meant by *text*; None: all."""
    text = text.strip()
    if not text:
        return None
    if text == NOBODY:
        return (None,)
    return (text,) if ":" in text else (_USER + text, text, _VISITOR + text)


def encode_place(where: Place) -> str:
    """A place among rows, for an address."""
    at, row_id = where
    return f"{at.isoformat(timespec='microseconds')}~{row_id}"


def place(text: str | None) -> Place | None:
    """The place that was :func:`encode_place`; None: none was.

    :raises InvalidRequest: *text* is not valid.
    """
    if text is None:
        return None
    at, _, row_id = text.partition("~")
    try:
        return datetime.fromisoformat(at).replace(tzinfo=None), row_id
    except ValueError:
        raise InvalidRequest("There is no such place in this session: begin again without it.") from None


def iso(at: datetime) -> str:
    """A UTC time without a zone, for machines."""
    return at.isoformat(timespec="milliseconds") + "Z"


def minute(at: datetime) -> str:
    """The same for people, to the minute."""
    return at.strftime("%Y-%m-%d %H:%M")


def second(at: datetime) -> str:
    """To the second."""
    return at.strftime("%Y-%m-%d %H:%M:%S")


def number(count: int) -> str:
    """With its thousands apart."""
    return f"{count:,}"


def duration(milliseconds: float) -> str:
    """A time span in the unit that fits."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
