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
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from appbuilder import clock, jsontext
from appbuilder.core.catalogue import FEEDBACK_KEY, Conversation, StoredRow, title_of
from appbuilder.core.message import Message, dump, text_of
from appbuilder.core.store import COMPLETE, INCOMPLETE, RESERVED_PREFIX, STATE, TURN_KEY
from appbuilder.errors import InvalidRequest
from appbuilder.ids import new_id, new_row_id

_AT_ONCE = 16
"""Turns whose rows may stand among each other's."""
_DEPTH = 2 * jsontext.MAX_DEPTH
"""A value in a row stands some levels deeper than where it was accepted."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """One session: how it is listed, and all its rows in their order."""

    conversation: Conversation
    rows: Sequence[StoredRow]


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was said in one turn. ``state`` is ``complete``, ``incomplete`` or ``failed``.

    :param id: of the row that stands for the turn, 36 characters.
    :param input: what the user said; None: nothing.
    :param answer: None: there was none.
    :param usage: tokens, as the model counted them; empty where nobody did.
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


def exchanges(rows: Iterable[StoredRow]) -> list[Exchange]:
    """What was said in a session, turn by turn."""
    return [exchange(turn) for turn in turns(rows)]


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


def exchange(turn: Sequence[StoredRow]) -> Exchange:
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
    return _line(
        {
            "type": "row",
            "session_id": session_id,
            "id": row.id,
            "request_id": row.request_id,
            "key": row.key,
            "value": row.value,
            "created_at": _written(row.created_at),
        }
    )


def openai_line(rows: Iterable[StoredRow]) -> Iterator[bytes]:
    """A session as one line of OpenAI's messages; what is no text stands as its JSON text.

    In parts, one a turn, so that a long session need not be held whole.
    """
    yield b'{"messages":['
    comma = b""
    for turn in turns(rows):
        said = exchange(turn)
        for role, content in (("user", said.input), ("assistant", said.answer)):
            if text := text_of(content):
                yield comma + jsontext.dumps({"role": role, "content": text})
                comma = b","
    yield b"]}\n"


def read(lines: Iterable[bytes], *, trusted: bool = False) -> Iterator[Transcript]:
    """The sessions in a file, one after the other; empty lines are passed over.

    Of OpenAI's messages those of ``user`` and ``assistant`` are taken, under a new session id; others
    (``system``, ``tool``) are not part of what a session keeps.

    :param trusted: False, where a caller of the service sends the file: rows by which the service itself
        remembers things, but turns and ratings, are left out; they might name what is another caller's.
    :raises InvalidRequest: a line is none of ours; the text says which and why.
    """
    listed: Conversation | None = None
    rows: list[StoredRow] = []
    for number, entry in _entries(lines):
        if isinstance(entry, _RowLine):
            if listed is None or entry.session_id != listed.session_id:
                raise InvalidRequest(f"Line {number}: this row does not follow the line of its session.")
            if trusted or _may_come_from_outside(entry.key):
                rows.append(entry.row())
            continue
        if listed is not None:
            yield Transcript(listed, rows)
        listed, rows = None, []
        if isinstance(entry, _MessagesLine):
            yield entry.transcript()
        else:
            listed = entry.conversation()
    if listed is not None:
        yield Transcript(listed, rows)


def _of_turn(row: StoredRow) -> Exchange:
    value = row.value if isinstance(row.value, dict) else {}
    answer = value.get("answer")
    return Exchange(
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


def _of_messages(group: Sequence[StoredRow]) -> Exchange:
    first, last = group[0], group[-1]
    asked = len(group) > 1 or not _is_answer(first.value)
    answered = len(group) > 1 or _is_answer(first.value)
    cut = isinstance(last.value, dict) and last.value.get(STATE) == INCOMPLETE
    return Exchange(
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


# Reading


class _Unfit(ValueError):
    """Why a line cannot be read; no full stop."""


def _is_text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("it must be a text")  # noqa: TRY004 - pydantic asks for a ValueError
    return value


def _naive_utc(at: datetime) -> datetime:
    if not 1970 <= at.year <= 9998:  # beyond it a database, or another zone, has no such time
        raise ValueError("there is no such time in a session")
    return at if at.tzinfo is None else at.astimezone(timezone.utc).replace(tzinfo=None)


_Id = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,36}$", strict=True)]
_Key = Annotated[str, StringConstraints(pattern=r"^[^\x00]{1,128}$", strict=True)]
_Text = Annotated[str, StringConstraints(max_length=1000, strict=True)]
_Time = Annotated[datetime, BeforeValidator(_is_text), AfterValidator(_naive_utc)]


class _SessionLine(BaseModel):
    type: Literal["session"]
    session_id: _Id
    owner: _Text | None = None
    title: _Text
    created_at: _Time
    updated_at: _Time

    def conversation(self) -> Conversation:
        return Conversation(self.session_id, self.owner, self.title, self.created_at, self.updated_at)


class _RowLine(BaseModel):
    type: Literal["row"]
    session_id: _Id
    id: _Id
    request_id: _Id
    key: _Key
    value: Any
    created_at: _Time

    def row(self) -> StoredRow:
        return StoredRow(self.id, self.request_id, self.key, self.value, self.created_at)


class _TextPart(BaseModel):
    type: Literal["text", "input_text", "output_text"]
    text: str


class _ChatMessage(BaseModel):
    role: Literal["user", "assistant"]
    content: str | list[_TextPart] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


def _said(messages: object) -> object:
    """Without what neither the user nor the assistant said, whatever its form."""
    if not isinstance(messages, list):
        return messages
    roles = ("user", "assistant")
    return [each for each in messages if not isinstance(each, dict) or each.get("role") in roles]


class _MessagesLine(BaseModel):
    messages: Annotated[list[_ChatMessage], BeforeValidator(_said)]

    def transcript(self) -> Transcript:
        turns = list(_turns(self.messages))
        now = clock.now()
        rows = [_turn_row(asked, answered, now + number * timedelta(microseconds=1))
                for number, (asked, answered) in enumerate(turns)]
        title = title_of(next((asked or answered for asked, answered in turns), ""))
        last = rows[-1].created_at if rows else now
        return Transcript(Conversation(new_id(), None, title, now, last), rows)


_Line = _SessionLine | _RowLine | _MessagesLine
_KINDS: Mapping[str, TypeAdapter[_Line]] = {
    "session": TypeAdapter(_SessionLine),
    "row": TypeAdapter(_RowLine),
    "messages": TypeAdapter(_MessagesLine),
}


def _entries(lines: Iterable[bytes]) -> Iterator[tuple[int, _Line]]:
    """What each line says, with its number."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, _parse(line)
            except _Unfit as error:
                raise InvalidRequest(f"Line {number}: {error}.") from None


def _parse(line: bytes) -> _Line:
    try:
        value = jsontext.loads(line, _DEPTH)
    except jsontext.NotJson as error:
        raise _Unfit(f"not valid JSON, {error}") from None
    if not isinstance(value, dict):
        raise _Unfit("it is not a JSON object")
    kind = _KINDS.get("messages" if "messages" in value else str(value.get("type")))
    if kind is None:
        raise _Unfit("it is neither a session, nor a row, nor OpenAI's messages")
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise _Unfit(_why(error)) from None


def _why(error: ValidationError) -> str:
    """The first thing that is wrong; what stands there is not repeated."""
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def _turns(messages: Iterable[_ChatMessage]) -> Iterator[tuple[str, str]]:
    """(asked, answered); empty is what nobody said."""
    asked = ""
    for each in messages:
        if each.role == "assistant":
            yield asked, each.text
            asked = ""
        else:
            if asked:
                yield asked, ""
            asked = each.text
    if asked:
        yield asked, ""


def _turn_row(asked: str, answered: str, at: datetime) -> StoredRow:
    value = {
        "input": dump(Message(asked)),
        "answer": dump(Message(answered)),
        STATE: COMPLETE if answered else INCOMPLETE,
    }
    return StoredRow(new_row_id(), new_id(), TURN_KEY, value, at)
