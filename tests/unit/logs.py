"""Logs of runs for tests: made of pieces, and read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from appbuilder.core.events import OUTPUT, Entry, LoggedEvent, RunEvent
from appbuilder.engine.log import RunLog
from appbuilder.engine.reader import Batch
from appbuilder.events import Event


def by_name(headers: Mapping[str, str]) -> Callable[[str], str | None]:
    """What gives the headers by their names in lower case, as a transport does."""
    return {name.lower(): value for name, value in headers.items()}.get


def entry_of(piece: Any) -> Entry:
    """A piece as an entry: text, an event, or a typed output."""
    if isinstance(piece, (str, LoggedEvent)):
        return piece
    if isinstance(piece, Event):
        return LoggedEvent(piece.event_kind, piece.data())
    return LoggedEvent(OUTPUT, {"value": piece})


def log_of(pieces: Iterable[Any], head: Mapping[str, Any] | None = None) -> RunLog:
    """A log of these pieces."""
    log = RunLog()
    log.head = {} if head is None else head
    for piece in pieces:
        log.append(entry_of(piece))
    return log


def batch_of(pieces: Iterable[Any], head: Mapping[str, Any] | None = None) -> Batch:
    """The pieces as a reader takes them."""
    log = log_of(pieces, head)
    return Batch(log, 0, log.entries, None)


def events_of(pieces: Iterable[Any]) -> list[RunEvent]:
    """The pieces as events."""
    return batch_of(pieces).events()


def pieces_in(log: RunLog) -> list[Any]:
    """The pieces of the answer in a log: texts and typed outputs."""
    return [each if isinstance(each, str) else each.data["value"] for each in log.pieces]


def steps_in(log: RunLog) -> list[Mapping[str, Any]]:
    """The data of the steps in a log."""
    return [each.data for each in log.entries if not isinstance(each, str) and each.kind == "step"]
