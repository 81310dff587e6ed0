"""Sessions as files: JSON Lines that keep everything, and OpenAI's messages that keep what was said.

JSON Lines: a session is one line, followed by a line for each of its rows, in their order::

    {"type": "session", "session_id": "...", "owner": "user:ann", "title": "...",
     "created_at": "2026-01-02T03:04:05.000006Z", "updated_at": "..."}
    {"type": "row", "session_id": "...", "id": "...", "request_id": "...", "key": "...", "value": {...},
     "created_at": "..."}

OpenAI's messages: a session is one line, ``{"messages": [{"role": "user", "content": "..."}, ...]}``.

A file may hold both kinds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from appbuilder import jsontext
from appbuilder.core.conversations import FEEDBACK_KEY, Conversation, StoredRow
from appbuilder.core.message import text_of
from appbuilder.core.store import COMPLETE, INCOMPLETE, RESERVED_PREFIX, STATE, TURN_KEY
from appbuilder.errors import InvalidRequest
from appbuilder.protocols.rest.transcript_lines import MessagesLine, RowLine, entries

_AT_ONCE = 16
"""Turns whose rows may stand among each other's."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """One session: how it is listed, and all its rows in their order."""

    conversation: Conversation
    rows: Sequence[StoredRow]


@dataclass(frozen=True, slots=True)
class TurnView:
    """What was said in one turn. ``state`` is ``complete``, ``incomplete`` or ``failed``.

    :param id: of the row that stands for the turn, 36 characters.
    :param input: what the user said; None: nothing.
    :param answer: None: there was none.
    :param usage: tokens, as the model counted them; empty if it did not.
    """

    id: str
    request_id: str
    created_at: datetime
    input: Any
    answer: Any
    state: str = COMPLETE
    usage: Mapping[str, Any] = field(default_factory=dict)
    milliseconds: int | None = None
    error: Mapping[str, Any] = field(default_factory=dict)


def turn_views(rows: Iterable[StoredRow]) -> list[TurnView]:
    """What was said in a session, turn by turn."""
    return [turn_view(turn) for turn in turns(rows)]


def turns(rows: Iterable[StoredRow]) -> Iterator[Sequence[StoredRow]]:
    """The rows of each turn of a session, in the order the turns began; rows of no turn are left out.

    A turn is what has one request id, up to its own row where it has one: a client may use an id again. The
    SDK wrote what several requests stored at a time among each other. Only a few turns are held at once.
    """
    begun: dict[str, list[StoredRow]] = {}
    waiting: deque[list[StoredRow]] = deque()
    for row in rows:
        if row.key.startswith(RESERVED_PREFIX) and row.key != TURN_KEY:
            continue
        turn = begun.get(row.request_id)
        if turn is None:
            turn = begun[row.request_id] = []
            waiting.append(turn)
        turn.append(row)
        if row.key == TURN_KEY:
            del begun[row.request_id]
        while waiting and (waiting[0][-1].key == TURN_KEY or len(waiting) > _AT_ONCE):
            done = waiting.popleft()
            if begun.get(done[0].request_id) is done:
                del begun[done[0].request_id]
            yield done
    yield from waiting


def turn_view(turn: Sequence[StoredRow]) -> TurnView:
    """What was said in a turn.

    Where it has no row of its own (``POST /chat`` of FlaskRuntime, the SDK), the first message a component
    stored in it is what was asked, the last what was answered.
    """
    return _of_turn(turn[-1]) if turn[-1].key == TURN_KEY else _of_messages(turn)


def session_line(listed: Conversation) -> bytes:
    """The line a session begins with."""
    return _line(
        {
            "type": "session",
            "session_id": listed.session_id,
            "owner": listed.owner,
            "title": listed.title,
            "created_at": _written(listed.created_at),
            "updated_at": _written(listed.updated_at),
        }
    )


def row_line(session_id: str, row: StoredRow) -> bytes:
    """The line of a row of a session."""
    before = {
        "type": "row",
        "session_id": session_id,
        "id": row.id,
        "request_id": row.request_id,
        "key": row.key,
    }
    after = {"created_at": _written(row.created_at)}
    # By itself: one level more, and the deepest value that can be stored could not be written.
    value = jsontext.dumps(row.value)
    return jsontext.dumps(before)[:-1] + b',"value":' + value + b"," + _line(after)[1:]


def openai_line(rows: Iterable[StoredRow]) -> Iterator[bytes]:
    """A session as one line of OpenAI's messages; what is no text stands as its JSON text.

    In parts, one a turn, so that a long session need not be held whole.
    """
    yield b'{"messages":['
    comma = b""
    for turn in turns(rows):
        said = turn_view(turn)
        for role, content in (("user", said.input), ("assistant", said.answer)):
            if text := text_of(content):
                yield comma + jsontext.dumps({"role": role, "content": text})
                comma = b","
    yield b"]}\n"


def read(
    lines: Iterable[bytes], *, trusted: bool = False, most_lines: int = 0, max_values: int = 0
) -> Iterator[Transcript]:
    """The sessions in a file, one after the other; empty lines are passed over.

    Of OpenAI's messages those of ``user`` and ``assistant`` are taken, under a new session id; others
    (``system``, ``tool``) are not part of what a session keeps.

    :param trusted: False, where a caller of the service sends the file: rows by which the service itself
        remembers things, but turns and ratings, are left out; they might name what is another caller's.
    :param most_lines: with *max_values* as ``most`` of :func:`entries`.
    :raises InvalidRequest: a line cannot be read; the text says which and why.
    :raises PayloadTooLarge: there are too many.
    """
    listed: Conversation | None = None
    rows: list[StoredRow] = []
    for number, entry in entries(lines, most_lines, max_values):
        if isinstance(entry, RowLine):
            if listed is None or entry.session_id != listed.session_id:
                raise InvalidRequest(f"Line {number}: this row does not follow the line of its session.")
            if trusted or _may_come_from_outside(entry.key):
                rows.append(entry.row())
            continue
        if listed is not None:
            yield Transcript(listed, rows)
        listed, rows = None, []
        if isinstance(entry, MessagesLine):
            yield Transcript(*entry.session())
        else:
            listed = entry.conversation()
    if listed is not None:
        yield Transcript(listed, rows)


def _of_turn(row: StoredRow) -> TurnView:
    value = row.value if isinstance(row.value, dict) else {}
    answer = value.get("answer")
    return TurnView(
        row.id,
        row.request_id,
        row.created_at,
        input=_content(value.get("input")),
        answer=_content(answer),
        state=str(value.get(STATE) or COMPLETE),
        usage=_usage(answer),
        milliseconds=_milliseconds(value.get("milliseconds")),
        error=value["error"] if isinstance(value.get("error"), dict) else {},
    )


def _milliseconds(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 and not isinstance(value, bool) else None


def _of_messages(group: Sequence[StoredRow]) -> TurnView:
    first, last = group[0], group[-1]
    asked = len(group) > 1 or not _is_answer(first.value)
    answered = len(group) > 1 or _is_answer(first.value)
    cut = isinstance(last.value, dict) and last.value.get(STATE) == INCOMPLETE
    return TurnView(
        first.id,
        first.request_id,
        first.created_at,
        input=_content(first.value) if asked else None,
        answer=_content(last.value) if answered else None,
        state=INCOMPLETE if cut else COMPLETE,
        usage=_usage(last.value),
    )


def _is_answer(value: Any) -> bool:
    return isinstance(value, dict) and ("token_usage" in value or "extra" in value)


def _usage(answer: Any) -> Mapping[str, Any]:
    usage = answer.get("token_usage") if isinstance(answer, dict) else None
    return usage if isinstance(usage, dict) else {}


def _content(message: Any) -> Any:
    return message.get("content") if isinstance(message, dict) else message


def _may_come_from_outside(key: str) -> bool:
    return key in (TURN_KEY, FEEDBACK_KEY) or not key.startswith(RESERVED_PREFIX)


def _line(members: Mapping[str, Any]) -> bytes:
    return jsontext.dumps(members) + b"\n"


def _written(at: datetime) -> str:
    return at.isoformat(timespec="microseconds") + "Z"
