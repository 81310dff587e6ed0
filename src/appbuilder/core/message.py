"""Messages: what goes into a component and what comes out of it.

The JSON form (``content``, ``name``, ``mtype``, ``id``, and for a model's answers ``extra`` and
``token_usage``) is the AppBuilder SDK's, in the HTTP API and in the database alike.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, field_serializer

from appbuilder import jsontext
from appbuilder.core import foreign_answers
from appbuilder.core.context import current_context
from appbuilder.core.foreign_messages import ForeignMessage
from appbuilder.events import Event, Text
from appbuilder.ids import new_id
from appbuilder.jsontext import clean, is_clean

_T = TypeVar("_T")


class Message(BaseModel, Generic[_T], extra="allow", arbitrary_types_allowed=True):
    """One message.

    :param content: anything; an iterator (of pieces of text) makes the message a stream. Once a stream
        was iterated, ``content`` is the joined text of its pieces.
    :param name: a label, ``"msg"`` by default.
    :param mtype: set by us: the content's type name (``str`` for a stream).
    :param id: an id of its own, 36 characters, unless one is given.

    Further keyword arguments become attributes and members of the JSON form.
    """

    content: _T = None  # type: ignore[assignment]  # so that a typed message's content needs no assert
    name: str | None = "msg"
    mtype: str | None = None
    id: str | None = Field(default_factory=new_id)

    def __init__(self, content: _T | None = None, **data: Any) -> None:
        data.pop("mtype", None)
        if content is not None:
            data["content"] = content
        super().__init__(**data)
        if type(content) is str:
            self.__dict__["mtype"] = "str"  # most messages: spared the way below
        else:
            self.content = self.content  # sets mtype, and wraps an iterator

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "content":
            # A stream of another message is wrapped too, so that it makes this one whole as well.
            if not (isinstance(value, _Stream) and value.belongs_to(self)):
                if isinstance(value, Iterator):
                    value = ContentStream(value, self)
                elif isinstance(value, AsyncIterator):
                    value = AsyncContentStream(value, self)
            super().__setattr__("mtype", "str" if isinstance(value, _Stream) else type(value).__name__)
        super().__setattr__(name, value)

    @field_serializer("content", mode="wrap")
    def _whole(self, content: Any, serialize: SerializerFunctionWrapHandler) -> Any:
        # pydantic's own form of an iterator is a list of pieces, or something that reads them later.
        if isinstance(content, _Stream):
            resolve_content(self)
            return content.so_far()
        return serialize(content)

    def __str__(self) -> str:
        return f"Message(name={self.name}, content={self.content}, mtype={self.mtype})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, content={self.content!r}, mtype={self.mtype!r})"


class AnswerMessage(Message[_T]):
    """A model's answer: a message with what the model used and found.

    ``token_usage`` has ``prompt_tokens``, ``completion_tokens`` and ``total_tokens``; ``extra`` may hold
    ``search_db`` or ``search_baidu``, lists of results. Of a stream both are filled when it has ended.
    """

    extra: dict[str, Any] = Field(default_factory=dict)
    token_usage: dict[str, Any] = Field(default_factory=dict)

    def __init__(self, content: _T | None = None, **data: Any) -> None:
        super().__init__(content, **data)  # said again for type checkers, which would make up another

    def __str__(self) -> str:
        return (
            f"Message(name={self.name}, content={self.content}, mtype={self.mtype}, "
            f"extra={self.extra}, token_usage={self.token_usage})"
        )


_BYTES = (bytes, bytearray, memoryview)
_NOTHING = object()
"""Stands for a chunk without text: it is no piece."""


class _Stream:
    """What both kinds of stream share: the pieces so far, and the message they make whole."""

    def __init__(self, message: Message[Any]) -> None:
        self._message = message
        # Kept as text at once: a component may change what it has handed out.
        self._pieces: list[str] = []
        self._halves = jsontext.Halves()
        self._due: list[Any] = []
        self._between = False
        """Whether something is held back or due; most pieces are spared to look for it."""
        self._settled = False
        self._calls: tuple[int, tuple[str, ...]] | None = None

    def belongs_to(self, message: Message[Any]) -> bool:
        """Whether *message* is the one this stream makes whole."""
        return self._message is message

    def _read(self, piece: Any) -> Any:
        """What to pass on of a piece: text with its halves joined, the text of another library's chunk, other
        values as they are; or that there is nothing."""
        text, tools = piece, tuple[str, ...]()
        if isinstance(piece, _BYTES):
            text = bytes(piece)
        elif isinstance(piece, Event):
            if not isinstance(piece, Text):
                return self._pass_on(piece)
            text = piece.delta
        elif type(piece) is not str:
            content = piece.content if isinstance(piece, Message) else piece
            if content is None and self._between:
                return _NOTHING
            found = foreign_answers.read_answer(content)
            if found is not None:
                note(self._message, found)
                text, tools = found.text, found.tools
            elif isinstance(content, str) and (self._between or not is_clean(content)):
                text = content
            else:
                return self._pass_on(piece)
        text = self._halves.join(text)
        self._between = self._halves.holds
        if text:
            self._pieces.append(text)
        if tools:
            self._calls = (len(self._pieces), tools)
        return text or _NOTHING

    def _pass_on(self, piece: Any) -> Any:
        """A piece that is no text; after what was held back, to which it brings no other half."""
        rest = self._rest()
        if rest:
            self._due.append(piece)
            return rest
        if not isinstance(piece, Event):
            self._pieces.append(text_of(piece))
        return piece

    def _rest(self) -> str:
        """What was held back and stays alone."""
        self._between = False
        if rest := self._halves.end():
            self._pieces.append(rest)
        return rest

    def _end(self) -> None:
        """:raises AnswerError: calls of tools came last: whoever made the stream did not run them."""
        note_cut(self._message, self._pieces)
        self._settle()
        if self._calls is not None and self._calls[0] == len(self._pieces):
            raise foreign_answers.unhandled(self._calls[1])

    def _settle(self) -> None:
        if not self._settled:
            self._settled = True
            # A component may have put something else into the message meanwhile: that stays.
            if self._message.content is self:
                self._message.content = self.so_far()

    def so_far(self) -> str:
        """The text of the pieces that have passed; at the end what a blocking call returns, and is stored."""
        return "".join(self._pieces)


class ContentStream(_Stream, Iterator[Any]):
    """Passes a message's pieces on and makes the message whole when they end, or when it is closed."""

    def __init__(self, source: Iterator[Any], message: Message[Any]) -> None:
        super().__init__(message)
        self._source = source

    def __next__(self) -> Any:
        while True:
            try:
                piece = self._due.pop() if self._due else next(self._source)
            except StopIteration:
                if self._between:
                    return self._rest()
                self._end()
                raise
            # What is printable holds no surrogate either, and that is found out sooner.
            if (
                type(piece) is str
                and (piece.isascii() or piece.isprintable() or is_clean(piece))
                and not self._between
            ):
                self._pieces.append(piece)
                return piece
            piece = self._read(piece)
            if piece is not _NOTHING:
                return piece

    def close(self) -> None:
        """Closes the source (where it can be closed) and settles the message on what has passed."""
        try:
            close = getattr(self._source, "close", None)
            if close is not None:
                close()
        finally:
            self._settle()


class AsyncContentStream(_Stream, AsyncIterator[Any]):
    """:class:`ContentStream` for asynchronous iterators."""

    def __init__(self, source: AsyncIterator[Any], message: Message[Any]) -> None:
        super().__init__(message)
        self._source = source

    async def __anext__(self) -> Any:
        while True:
            try:
                piece = self._due.pop() if self._due else await self._source.__anext__()
            except StopAsyncIteration:
                if self._between:
                    return self._rest()
                self._end()
                raise
            # What is printable holds no surrogate either, and that is found out sooner.
            if (
                type(piece) is str
                and (piece.isascii() or piece.isprintable() or is_clean(piece))
                and not self._between
            ):
                self._pieces.append(piece)
                return piece
            piece = self._read(piece)
            if piece is not _NOTHING:
                return piece

    async def aclose(self) -> None:
        """Closes the source (where it can be closed) and settles the message on what has passed."""
        try:
            await close_async(self._source)
        finally:
            self._settle()


async def close_async(source: Any) -> None:
    """Closes an asynchronous stream, where it can be closed; of several libraries by ``close`` alone."""
    close = getattr(source, "aclose", None) or getattr(source, "close", None)
    closed = None if close is None else close()
    if inspect.isawaitable(closed):
        await closed


def note(message: Message[Any], found: ForeignMessage) -> None:
    """Puts what a model used, and why it ended where it was not done, into the message."""
    if found.usage is not None:
        before = getattr(message, "token_usage", None) or {}
        added = found.usage if not found.adds else {
            name: before.get(name, 0) + count for name, count in found.usage.items()
        }
        message.token_usage = dict(added)
    if found.finish_reason is not None:
        before = getattr(message, "extra", None) or {}
        message.extra = {**before, "finish_reason": found.finish_reason[:100]}


def note_cut(message: Message[Any], pieces: Sequence[str]) -> None:
    """Notes why the last model ended, where the message ends with what that one said and is not whole."""
    context = current_context()
    if context is None or context.cut is None:
        return
    reason, last = context.cut
    before = getattr(message, "extra", None) or {}
    if not isinstance(before, dict) or "finish_reason" in before:
        return
    if "".join(pieces[-_FEW:]).rstrip().endswith(last):
        message.extra = {**before, "finish_reason": reason}


_FEW = 100
"""Pieces that hold more characters than ``SessionContext.cut`` has."""


def check_members(message: Message[Any]) -> None:
    """:raises AnswerError: a member besides the content is neither text nor JSON; the text names its type."""
    further = message.__pydantic_extra__
    extra = message.extra if isinstance(message, AnswerMessage) else None
    if further or extra:
        jsontext.dumps([further, extra])


def resolve_content(message: Message[Any]) -> None:
    """Reads what is left of a message's stream, so that the message is whole; others stay as they are."""
    if isinstance(message.content, ContentStream):
        for _ in message.content:
            pass


def text_of(piece: Any) -> str:
    """The text of one piece: a str is itself, None is empty, bytes are UTF-8, others are their JSON."""
    if isinstance(piece, str):
        return piece
    if piece is None:
        return ""
    if isinstance(piece, Message):
        return clean(text_of(piece.content))
    if isinstance(piece, _BYTES):
        return bytes(piece).decode("utf-8", "replace")
    return jsontext.dumps(piece).decode()


def dump(message: Message[Any]) -> dict[str, Any]:
    """The message's members for JSON; those that are None are left out. A stream must have ended."""
    members: dict[str, Any] = {
        "content": message.content,
        "name": message.name,
        "mtype": message.mtype,
        "id": message.id,
    }
    if isinstance(message, AnswerMessage):
        members["extra"] = message.extra
        members["token_usage"] = message.token_usage
    if type(message) not in (Message, AnswerMessage):
        for name in type(message).model_fields:
            members[name] = getattr(message, name)
    members.update(message.__pydantic_extra__ or {})
    if isinstance(message.content, _Stream):
        members["content"] = message.content.so_far()
    elif isinstance(message.content, _BYTES):
        members["content"] = text_of(message.content)
    if None not in members.values():
        return members
    return {name: value for name, value in members.items() if value is not None}


def restore(members: dict[str, Any]) -> Message[Any]:
    """The message whose :func:`dump` *members* is, as it was stored (its own id and mtype)."""
    kind: type[Message[Any]] = AnswerMessage if "token_usage" in members or "extra" in members else Message
    with contextlib.suppress(TypeError):
        return kind.model_construct(**members)
    return Message(members)
