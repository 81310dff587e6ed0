"""What the log of a run comes to: the blocking answer, and the stored turn with its events in order; pure.

A stored turn has its events under ``events``, where there is more than text: a number stands for that many
further characters of the answer's text, an object ``{"kind": ..., "data": ...}`` for any other event, at its
place among the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appbuilder.core.events import OUTPUT, RESTART, Entry, LoggedEvent, RunEvent, is_piece, text_in
from appbuilder.core.message import text_of

_STEP = ("id", "started_at", "usage", "milliseconds", "error")
_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True)
class Folded:
    """What a log comes to.

    :param content: of the answer, where there is a piece of it: text, or one typed output by itself.
    :param events: as they are stored; empty where there is only text.
    :param usage: the sum of the ``usage`` events, with a total; empty without such events.
    """

    content: Any
    events: Sequence[Any]
    usage: Mapping[str, int]


def valid(entries: Sequence[Entry]) -> Sequence[Entry]:
    """The entries that count: those after the last restart."""
    for place in range(len(entries) - 1, -1, -1):
        entry = entries[place]
        if type(entry) is not str and entry.kind == RESTART:  # type: ignore[union-attr]
            return entries[place + 1 :]
    return entries


def fold(entries: Sequence[Entry], others: int) -> Folded:
    """Folds the entries of a log.

    :param others: how many of them are not pieces of the answer.
    """
    if not others and all(type(entry) is str for entry in entries):
        return Folded("".join(entries), (), {})  # type: ignore[arg-type]
    entries = valid(entries) if others else entries
    pieces = [entry for entry in entries if is_piece(entry)]
    content = _value(pieces[0]) if len(pieces) == 1 else "".join(map(text_in, pieces))
    return Folded(content, _events(entries), _usage(entries))


def stored_events(value: Mapping[str, Any]) -> Iterator[RunEvent]:
    """The events of a stored turn, in their order; also of rows that hold ``steps`` and ``pieces`` apart, as
    they were written before there were ``events``."""
    events = value.get("events")
    source = _entries(value, events) if isinstance(events, list) else _older(value)
    for seq, (kind, data) in enumerate(source, 1):
        yield RunEvent(seq, kind, data)


def _value(piece: Entry) -> Any:
    return piece if isinstance(piece, str) else piece.data["value"]


def _events(entries: Iterable[Entry]) -> list[Any]:
    """The stored form. What comes in parts, or several times under one id, stands where it began."""
    events: list[Any] = []
    begun: dict[tuple[str, str], dict[str, Any]] = {}
    parts: dict[int, tuple[dict[str, Any], str, list[str]]] = {}
    """By the event: its data, the member that came in parts, and the parts; joined at the end, once."""
    for entry in entries:
        if isinstance(entry, str):
            if events and isinstance(events[-1], int):
                events[-1] += len(entry)
            elif entry:
                events.append(len(entry))
            continue
        event = _before(events, begun, entry)
        if event is None:
            event = {"kind": entry.kind, "data": dict(entry.data)}
            events.append(event)
            if entry.kind in ("step", "tool_call"):
                begun[entry.kind, str(entry.data["id"])] = event
        else:
            _join(event, entry.data, parts)
    for data, name, texts in parts.values():
        data[name] = "".join(texts)
    return events


def _before(
    events: Sequence[Any], begun: Mapping[tuple[str, str], dict[str, Any]], entry: LoggedEvent
) -> dict[str, Any] | None:
    """The event that *entry* goes on with; None: it is a new one."""
    if entry.kind != "reasoning":
        return begun.get((entry.kind, str(entry.data.get("id"))))
    last = events[-1] if events else None
    return last if isinstance(last, dict) and last["kind"] == "reasoning" else None


def _join(
    event: dict[str, Any], after: Mapping[str, Any], parts: dict[int, tuple[dict[str, Any], str, list[str]]]
) -> None:
    """Adds to *event* what came later: text in parts is collected, of all else the later counts."""
    name = "delta" if event["kind"] == "reasoning" else "arguments"
    data = event["data"]
    first, more = data.get(name), after.get(name)
    if isinstance(first, str) and isinstance(more, str):
        parts.setdefault(id(event), (data, name, [first]))[2].append(more)
        if after.get("name"):
            data["name"] = after["name"]
        return
    parts.pop(id(event), None)
    event["data"] = dict(after)


def _usage(entries: Iterable[Entry]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for entry in entries:
        if isinstance(entry, str) or entry.kind != "usage":
            continue
        data = dict(entry.data)
        data.setdefault("total_tokens", data.get("prompt_tokens", 0) + data.get("completion_tokens", 0))
        for name in _USAGE:
            if name in data:
                sums[name] = sums.get(name, 0) + data[name]
    return sums


def _entries(value: Mapping[str, Any], events: Sequence[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    text, place = _answer_text(value), 0
    for event in events:
        if isinstance(event, int):
            yield "text", {"delta": text[place : place + event]}
            place += event
        elif isinstance(event, dict) and isinstance(event.get("data"), dict):
            if event.get("kind") == OUTPUT:
                place += len(text_of(event["data"].get("value")))
            yield str(event.get("kind")), event["data"]
    if text[place:]:
        yield "text", {"delta": text[place:]}


def _older(value: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    steps, pieces = value.get("steps"), value.get("pieces")
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict):
            yield "step", _older_step(step)
    if not isinstance(pieces, list):
        yield "text", {"delta": _answer_text(value)}
        return
    for piece in pieces:
        yield ("text", {"delta": piece}) if isinstance(piece, str) else (OUTPUT, {"value": piece})


def _older_step(step: Mapping[str, Any]) -> dict[str, Any]:
    """A step whose members were those of its kind."""
    members = {name: step[name] for name in _STEP if name in step}
    if step.get("kind") == "event":
        return {**members, "kind": "event", "name": step.get("name"), "detail": step.get("detail")}
    detail = {"prompt": step.get("prompt"), "answer": step.get("answer")}
    return {**members, "kind": "model", "name": step.get("model"), "detail": detail}


def _answer_text(value: Mapping[str, Any]) -> str:
    answer = value.get("answer")
    return text_of(answer.get("content") if isinstance(answer, dict) else answer)


def time_of(data: Mapping[str, Any], otherwise: datetime) -> datetime:
    """When a step began; *otherwise* where it does not say."""
    try:
        return datetime.fromisoformat(str(data.get("started_at")))
    except ValueError:
        return otherwise
