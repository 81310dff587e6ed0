"""What a line of a file of sessions says, and whether it can be taken; the form is that of `transcript`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
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
from appbuilder.core.conversations import Conversation, StoredRow, title_of
from appbuilder.core.message import Message, dump
from appbuilder.core.store import COMPLETE, INCOMPLETE, STATE, TURN_KEY
from appbuilder.errors import InvalidRequest, PayloadTooLarge
from appbuilder.ids import derived_id, new_id, new_row_id

MOST_PARTS = 1000
"""Parts of one message's content."""
_DEPTH = jsontext.WRITTEN_DEPTH + 1
"""Whatever was stored, in its line."""

class _Unfit(ValueError):
    """Why a line cannot be read; no full stop."""


def _is_text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("it must be a text")  # noqa: TRY004 - pydantic asks for a ValueError
    return value


def _naive_utc(at: datetime) -> datetime:
    if not 1970 <= at.year <= 9998:  # beyond it a database, or another zone, has no such time
        raise ValueError("there is no such time in a session")
    return at if at.tzinfo is None else at.astimezone(UTC).replace(tzinfo=None)


def _fit(kind: str) -> AfterValidator:
    """In place of an id that a request cannot have (the SDK's table takes any) one that stands for it."""
    return AfterValidator(lambda text: text if _FIT.fullmatch(text) else derived_id(kind, text))


_FIT = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,36}")
_AnyText = Annotated[str, StringConstraints(strict=True)]
_SessionId = Annotated[_AnyText, _fit("session")]
_RequestId = Annotated[_AnyText, _fit("request")]
_Key = Annotated[str, StringConstraints(pattern=r"^[^\x00]{1,128}$", strict=True)]
_Text = Annotated[str, StringConstraints(max_length=1000, strict=True)]
_Time = Annotated[datetime, BeforeValidator(_is_text), AfterValidator(_naive_utc)]


class SessionLine(BaseModel):
    type: Literal["session"]
    session_id: _SessionId
    owner: _Text | None = None
    title: _Text
    created_at: _Time
    updated_at: _Time

    def conversation(self) -> Conversation:
        return Conversation(self.session_id, self.owner, self.title, self.created_at, self.updated_at)


class RowLine(BaseModel):
    type: Literal["row"]
    session_id: _SessionId
    id: _AnyText
    request_id: _RequestId
    key: _Key
    value: Any
    created_at: _Time

    def row(self) -> StoredRow:
        return StoredRow(self.id, self.request_id, self.key, self.value, self.created_at)


class _TextPart(BaseModel):
    type: Literal["text", "input_text", "output_text"]
    text: str


def _few(parts: object) -> object:
    """Each part that is wrong would have an error of its own."""
    if isinstance(parts, list) and len(parts) > MOST_PARTS:
        raise ValueError(f"it has more than {MOST_PARTS} parts")
    return parts


class _ChatMessage(BaseModel):
    role: Literal["user", "assistant"]
    content: str | Annotated[list[_TextPart], BeforeValidator(_few)] | None = None

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


class MessagesLine(BaseModel):
    messages: Annotated[list[_ChatMessage], BeforeValidator(_said)]

    def session(self) -> tuple[Conversation, Sequence[StoredRow]]:
        """A new one, with these messages; without an owner."""
        turns = list(_turns(self.messages))
        now = clock.now()
        rows = [_turn_row(asked, answered, now + number * timedelta(microseconds=1))
                for number, (asked, answered) in enumerate(turns)]
        title = title_of(next((asked or answered for asked, answered in turns), ""))
        last = rows[-1].created_at if rows else now
        return Conversation(new_id(), None, title, now, last), rows


Line = SessionLine | RowLine | MessagesLine
_KINDS: Mapping[str, TypeAdapter[Line]] = {
    "session": TypeAdapter(SessionLine),
    "row": TypeAdapter(RowLine),
    "messages": TypeAdapter(MessagesLine),
}


def entries(lines: Iterable[bytes], most: int = 0, max_values: int = 0) -> Iterator[tuple[int, Line]]:
    """What each line says, with its number.

    :param most: lines there may be, where each message of a line of OpenAI's messages counts as one; 0: any.
    :param max_values: values of one line, as of :func:`jsontext.loads`.
    :raises PayloadTooLarge: there are more.
    """
    left = most or sys.maxsize
    for number, line in enumerate(lines, 1):
        left -= 1
        if left < 0:
            raise _too_many(most)
        if not line.strip():
            continue
        try:
            entry = _parse(line, left, most, max_values)
        except _Unfit as error:
            raise InvalidRequest(f"Line {number}: {error}.") from None
        if isinstance(entry, MessagesLine):
            left -= len(entry.messages)
        yield number, entry


def _too_many(most: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The file has more than {most} lines (rows of sessions, or messages): import it in parts, or with "
        "`appbuilder sessions import`."
    )


def _parse(line: bytes, left: int, most: int, max_values: int) -> Line:
    try:
        value = jsontext.loads(line, _DEPTH, long_numbers=True, max_values=max_values)
    except jsontext.TooManyValues as error:
        raise _Unfit(str(error)) from None
    except jsontext.NotJson as error:
        raise _Unfit(f"not valid JSON, {error}") from None
    if not isinstance(value, dict):
        raise _Unfit("it is not a JSON object")
    messages = value.get("messages")
    if isinstance(messages, list) and len(messages) > left:
        raise _too_many(most)
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
    """(asked, answered); empty: not said."""
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
