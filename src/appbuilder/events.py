"""What a run can say besides plain text: the events a component yields or emits.

A component yields ``str`` for text and these types for the rest; code that is called from one, however
deep, emits them with ``appbuilder.core.context.get_context().emit(event)``. They stand in the run's log in
the order they happened, among the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

__all__ = ["Custom", "Event", "File", "Reasoning", "State", "Step", "Text", "ToolCall", "ToolResult", "Usage"]


@dataclass(frozen=True, slots=True)
class Event:
    """The base of all events; not one itself."""

    event_kind: ClassVar[str] = ""
    """The ``kind`` of the event in the log and on the wire."""

    def __post_init__(self) -> None:
        """:raises TypeError: a delta is not text."""
        delta = getattr(self, "delta", "")
        if not isinstance(delta, str):
            raise TypeError(f"{type(self).__name__} takes a str, not {type(delta).__name__}.")

    def data(self) -> dict[str, Any]:
        """The event's JSON members; those that are None are left out."""
        members = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: value for name, value in members if value is not None}


@dataclass(frozen=True, slots=True)
class Text(Event):
    """Text of the answer: the same as to yield *delta* itself."""

    delta: str
    event_kind: ClassVar[str] = "text"


@dataclass(frozen=True, slots=True)
class Reasoning(Event):
    """What a model thought before it answered. Several in a row make one text."""

    delta: str
    event_kind: ClassVar[str] = "reasoning"


@dataclass(frozen=True, slots=True)
class ToolCall(Event):
    """A call of a tool.

    :param arguments: a JSON object; or JSON text, which may arrive in parts: further calls with the same *id*
        add to it.
    """

    id: str
    name: str
    arguments: Mapping[str, Any] | str
    event_kind: ClassVar[str] = "tool_call"


@dataclass(frozen=True, slots=True)
class ToolResult(Event):
    """What the tool call *id* gave.

    :param content: a JSON value.
    :param error: why it failed; None: it did not.
    """

    id: str
    content: Any
    error: str | None = None
    event_kind: ClassVar[str] = "tool_result"


@dataclass(frozen=True, slots=True)
class Step(Event):
    """Something that was done on the way to the answer. It may be sent again under one *id* as it goes on;
    the last one counts.

    :param kind: ``model``, ``tool`` or ``event``.
    :param detail: a JSON value. Of a model call an object with ``prompt`` (messages with ``role`` and
        ``content``) and ``answer``.
    :param usage: tokens: ``prompt_tokens``, ``completion_tokens``, ``total_tokens``.
    :param milliseconds: how long it took.
    :param started_at: ISO 8601, UTC; None: when the event was logged.
    :param error: why it failed; None: it did not.
    """

    id: str
    name: str
    kind: Literal["model", "tool", "event"] = "event"
    ended: bool = True
    detail: Any = None
    usage: Mapping[str, int] | None = None
    milliseconds: int | None = None
    started_at: str | None = None
    error: str | None = None
    event_kind: ClassVar[str] = "step"


@dataclass(frozen=True, slots=True)
class File(Event):
    """A file that belongs to the answer, at a *url* of the agent's.

    :param size: bytes.
    """

    name: str
    url: str
    media_type: str | None = None
    size: int | None = None
    id: str | None = None
    event_kind: ClassVar[str] = "file"


@dataclass(frozen=True, slots=True)
class State(Event):
    """The agent's state: a whole *snapshot*, or a *patch* of it (RFC 6902).

    :raises ValueError: both are given, or neither.
    """

    snapshot: Any = None
    patch: Sequence[Mapping[str, Any]] | None = None
    event_kind: ClassVar[str] = "state"

    def __post_init__(self) -> None:
        if (self.snapshot is None) == (self.patch is None):
            raise ValueError("State takes a snapshot or a patch.")


@dataclass(frozen=True, slots=True)
class Usage(Event):
    """Tokens that were used, to be added to those before.

    :raises ValueError: a number is negative or not whole.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    event_kind: ClassVar[str] = "usage"

    def __post_init__(self) -> None:
        for name, count in self.data().items():
            if type(count) is not int or count < 0:
                raise ValueError(f"{name} must be a whole number, 0 or more.")


@dataclass(frozen=True, slots=True)
class Custom(Event):
    """An event of the agent's own; *value* is a JSON value."""

    name: str
    value: Any = None
    event_kind: ClassVar[str] = "custom"


KINDS = frozenset(each.event_kind for each in Event.__subclasses__())
"""The kinds a component may say."""
