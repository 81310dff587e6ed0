"""What is shown of each turn of a conversation, from its rows; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appbuilder.core.conversations import FEEDBACK_KEY, Rating, StoredRow
from appbuilder.core.events import OUTPUT, RunEvent
from appbuilder.core.message import text_of
from appbuilder.core.store import COMPLETE, FAILED, INCOMPLETE, RESERVED_PREFIX, TURN_KEY
from appbuilder.engine.fold import stored_events
from appbuilder.protocols.rest.transcript import TurnView, turn_views

LONGEST_TEXT = 20_000
"""Characters of one text that are shown; a message may have millions."""
_STATES = (COMPLETE, INCOMPLETE, FAILED)


@dataclass(frozen=True, slots=True)
class TextView:
    """A text, or its beginning. ``left_out`` counts the characters after it; ``is_json``: it is a value."""

    words: str
    left_out: int = 0
    is_json: bool = False


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """As the model server counted them; 0 where it did not say."""

    prompt: int = 0
    completion: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class StepView:
    """A step on the way to an answer: a model call with what was asked and said, or an event."""

    name: str
    said: Sequence[tuple[str, TextView]]
    tokens: TokenCounts = TokenCounts()
    milliseconds: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class AdminTurn:
    """One turn.

    :param id: what a rating of its answer names.
    :param at: when it was stored; UTC without a zone.
    :param state: ``complete``, ``incomplete`` (it was cut) or ``failed``.
    :param milliseconds: from the request to the end of the answer; None: not known.
    :param remembered: what else the component appended in it, by key.
    :param error: kind of the error it failed with; ``told`` is what the user read of it.
    """

    id: str
    request_id: str
    at: datetime
    question: TextView | None
    answer: Sequence[TextView]
    state: str
    tokens: TokenCounts = TokenCounts()
    milliseconds: int | None = None
    steps: Sequence[StepView] = ()
    remembered: Sequence[tuple[str, TextView]] = ()
    files: Sequence[str] = ()
    error: str = ""
    told: str = ""
    rating: Rating | None = None


@dataclass(slots=True)
class Totals:
    """Sums over turns. ``whole`` False: there are earlier ones; ``counted``: all tokens were read."""

    turns: int = 0
    tokens: int = 0
    good: int = 0
    bad: int = 0
    failed: int = 0
    whole: bool = True
    counted: bool = True


def turns(rows: Sequence[StoredRow], ratings: Mapping[str, Rating] | None = None) -> list[AdminTurn]:
    """The turns of a conversation.

    :param rows: of all keys, in their order; see :func:`whole_turns`.
    :param ratings: by the ids of turns; default: those among the rows.
    """
    by_id = {row.id: row for row in rows}
    by_request: dict[str, list[StoredRow]] = {}
    for row in rows:
        by_request.setdefault(row.request_id, []).append(row)
    rated = _ratings(rows) if ratings is None else ratings
    found = []
    for each in turn_views(rows):
        row, appended = by_id[each.id], by_request[each.request_id]
        if row.key == TURN_KEY:
            found.append(_kept(each, row, rated.get(row.id)))
        else:
            rating = next((rated[one.id] for one in appended if one.id in rated), None)
            found.append(_appended(each, appended, rating))
    return found


def whole_turns(rows: Sequence[StoredRow]) -> Sequence[StoredRow]:
    """*rows*, before which there are others, without a first turn whose beginning may be among those.

    Its answer would stand as a question.
    """
    first = next((row.request_id for row in rows if not is_aside(row)), None)
    own = [row for row in rows if row.request_id == first]
    if any(row.key == TURN_KEY for row in own):
        return rows
    return [row for row in rows if row.request_id != first] or rows


def is_aside(row: StoredRow) -> bool:
    """Whether a row is neither a turn nor part of one."""
    return row.key != TURN_KEY and row.key.startswith(RESERVED_PREFIX)


def totals(told: Iterable[AdminTurn], *, whole: bool = True, counted: bool = True) -> Totals:
    """What the turns are together."""
    sums = Totals(whole=whole, counted=counted)
    for turn in told:
        sums.turns += 1
        sums.tokens += turn.tokens.total
        sums.failed += turn.state == FAILED
        if turn.rating is not None:
            sums.good += turn.rating.good
            sums.bad += not turn.rating.good
    return sums


def _ratings(rows: Iterable[StoredRow]) -> dict[str, Rating]:
    found = {}
    for row in rows:
        if row.key == FEEDBACK_KEY:
            value = _members(row.value)
            comment = value.get("comment")
            found[str(value.get("turn"))] = Rating(bool(value.get("good")), str(comment or ""))
    return found


def _kept(told: TurnView, row: StoredRow, rating: Rating | None) -> AdminTurn:
    """A turn that has a row of its own, which says more of it."""
    value = _members(row.value)
    error, events = _members(value.get("error")), list(stored_events(value))
    return AdminTurn(
        id=told.id,
        request_id=told.request_id,
        at=told.created_at,
        question=_text(told.input) if "input" in value else None,
        answer=_texts(_pieces(events)),
        state=told.state if told.state in _STATES else COMPLETE,
        tokens=_tokens(told.usage),
        milliseconds=_count(value.get("milliseconds")),
        steps=[_step_view(each) for each in events if each.kind in _STEP_KINDS],
        files=[str(_members(each).get("name") or "") for each in _items(value.get("attachments"))],
        error=str(error.get("kind") or ""),
        told=str(error.get("text") or ""),
        rating=rating,
    )


def _appended(told: TurnView, rows: Sequence[StoredRow], rating: Rating | None) -> AdminTurn:
    """A turn that is known by what the component appended in it: over FlaskRuntime, by the SDK."""
    between = [row for row in rows if not is_aside(row)][1:-1]
    return AdminTurn(
        id=told.id,
        request_id=told.request_id,
        at=told.created_at,
        question=None if told.input is None else _text(told.input),
        answer=_texts([told.answer]),
        state=told.state if told.state in _STATES else COMPLETE,
        tokens=_tokens(told.usage),
        remembered=[(row.key, _content(row.value)) for row in between],
        rating=rating,
    )


_STEP_KINDS = frozenset({"step", "tool_call", "tool_result", "reasoning", "file", "state", "custom"})


def _pieces(events: Iterable[RunEvent]) -> Iterator[Any]:
    for event in events:
        if event.kind == "text":
            yield event.data["delta"]
        elif event.kind == OUTPUT:
            yield event.data.get("value")


def _step_view(event: RunEvent) -> StepView:
    value = event.data
    error = str(value.get("error") or "")
    if value.get("kind") == "model":
        return _model_call(value, error)
    detail = value if event.kind != "step" else value.get("detail")
    said = [("", _text(detail))] if detail is not None else []
    name = str(value.get("name") or event.kind)
    return StepView(name, said, _tokens(value.get("usage")), _count(value.get("milliseconds")), error)


def _model_call(value: Mapping[str, Any], error: str) -> StepView:
    detail = _members(value.get("detail"))
    prompt = [_members(each) for each in _items(detail.get("prompt"))]
    said = [(str(each.get("role") or ""), _text(each.get("content"))) for each in prompt]
    return StepView(
        str(value.get("name") or ""),
        [*said, ("assistant", _text(detail.get("answer")))],
        _tokens(value.get("usage")),
        _count(value.get("milliseconds")),
        error,
    )


def _tokens(usage: Any) -> TokenCounts:
    value = _members(usage)
    prompt, completion, total = (
        _count(value.get(f"{kind}_tokens")) or 0 for kind in ("prompt", "completion", "total")
    )
    return TokenCounts(prompt, completion, total or prompt + completion)


def _texts(pieces: Iterable[Any]) -> list[TextView]:
    """TextView that stands together is one text; of a typed output its JSON."""
    found: list[TextView] = []
    words: list[str] = []
    for piece in pieces:
        if isinstance(piece, (dict, list)):
            found += [_cut("".join(words))] if words else []
            found.append(_text(piece))
            words.clear()
        else:
            words.append(text_of(piece))
    return [*found, _cut("".join(words))] if any(words) else found


def _content(message: Any) -> TextView:
    return _text(message.get("content") if isinstance(message, dict) else message)


def _text(value: Any) -> TextView:
    if isinstance(value, (dict, list)):
        return _cut(json.dumps(value, ensure_ascii=False, indent=2), is_json=True)
    return _cut(text_of(value))


def _cut(words: str, *, is_json: bool = False) -> TextView:
    return TextView(words[:LONGEST_TEXT], max(0, len(words) - LONGEST_TEXT), is_json)


def _count(value: Any) -> int | None:
    """A number of tokens or of milliseconds; None: it is not one."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e15
    return int(value) if good else None


def _members(value: Any) -> Mapping[str, Any]:
    """A JSON object; an empty one in place of anything else: any program may have written a row."""
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
