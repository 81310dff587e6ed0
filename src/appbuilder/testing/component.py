"""Components that do what a test tells them, and remember what was done to them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from appbuilder.core.component import Component
from appbuilder.core.context import get_context
from appbuilder.core.message import AnswerMessage, Message

BEFORE = -1
"""As the place of an event or an error: in ``run`` itself, before there is an answer."""


@dataclass(frozen=True)
class Call:
    """One call of ``run``, and what it saw of its turn."""

    content: Any
    stream: bool
    args: Mapping[str, Any]
    session_id: str
    request_id: str
    user_id: str | None
    credential: str | None
    thread: int


@dataclass
class Script:
    """What a scripted component does.

    :param pieces: the answer, or what makes it of a call.
    :param gates: place -> event it waits for: the number of a piece, or :data:`BEFORE`.
    :param raises: place -> error it raises there; ``len(pieces)`` is after the last piece.
    :param raising_calls: that many calls raise, those after them do not; None: all.
    :param appends: message key -> content it appends to the session at the start of ``run``; None there
        stands for the answer.
    :param usage: the answer's ``token_usage``.
    :param extra: the answer's ``extra``.
    """

    pieces: Sequence[Any] | Callable[[Call], Sequence[Any]] = ("你", "好")
    gates: Mapping[int, threading.Event] = field(default_factory=dict)
    raises: Mapping[int, BaseException] = field(default_factory=dict)
    raising_calls: int | None = None
    appends: Mapping[str, Any] = field(default_factory=dict)
    usage: Mapping[str, int] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


class ScriptedComponent(Component):
    """Answers as its script says: ``ScriptedComponent(pieces=["a", "b"], raises={1: OSError()})``.

    ``calls`` lists the calls of ``run``; ``said`` counts pieces handed out, ``closes`` closed iterators and
    ``ends`` those that came to their end.
    """

    def __init__(self, script: Script | None = None, **script_members: Any) -> None:
        super().__init__()
        self.script = script or Script(**script_members)
        self.calls: list[Call] = []
        self.said = 0
        self.closes = 0
        self.ends = 0
        self._changed = threading.Condition()

    def run(self, message: Message[Any], stream: bool = False, **args: Any) -> Message[Any]:
        """Answers as the script says; whole unless *stream*."""
        call = self._begin(message, stream, args)
        self._wait(BEFORE)
        self._raise_at(BEFORE, call)
        answer = self._answer()
        pieces = self._pieces(call)
        answer.content = _Spoken(self, call, pieces) if stream else _joined(list(_Spoken(self, call, pieces)))
        self._append(answer)
        return answer

    def wait_for(self, holds: Callable[[ScriptedComponent], bool], timeout: float = 10.0) -> None:
        """Returns when *holds* is true of this component: ``wait_for(lambda c: c.closes == 1)``.

        :raises TimeoutError: it is not, in *timeout* seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: holds(self), timeout):
                raise TimeoutError(f"waited {timeout} s for the component")

    def count(self, name: str) -> None:
        """Adds one to a counter and wakes who waits for it."""
        with self._changed:
            setattr(self, name, getattr(self, name) + 1)
            self._changed.notify_all()

    def _begin(self, message: Message[Any], stream: bool, args: Mapping[str, Any]) -> Call:
        context = get_context()
        call = Call(
            content=message.content,
            stream=stream,
            args=args,
            session_id=context.session_id,
            request_id=context.request_id,
            user_id=context.user_id,
            credential=context.credential,
            thread=threading.get_ident(),
        )
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
        return call

    def _answer(self) -> AnswerMessage[Any]:
        return AnswerMessage(token_usage=dict(self.script.usage), extra=dict(self.script.extra))

    def _pieces(self, call: Call) -> Sequence[Any]:
        pieces = self.script.pieces
        return pieces(call) if callable(pieces) else pieces

    def _append(self, answer: Message[Any]) -> None:
        if self.script.appends:
            from appbuilder.runtime.user_session import UserSession

            UserSession().append({
                key: answer if content is None else Message(content)
                for key, content in self.script.appends.items()
            })

    def _wait(self, place: int) -> None:
        gate = self.script.gates.get(place)
        if gate is not None:
            gate.wait()

    def _raise_at(self, place: int, call: Call) -> None:
        error = self.script.raises.get(place)
        limit = self.script.raising_calls
        if error is not None and (limit is None or self.calls.index(call) < limit):
            raise error


class AsyncScriptedComponent(ScriptedComponent):
    """:class:`ScriptedComponent` with an ``arun`` of its own, whose streams are asynchronous iterators."""

    async def arun(self, message: Message[Any], stream: bool = False, **args: Any) -> Message[Any]:
        """As ``run``. An event is waited for in a thread, so that the loop is never blocked."""
        call = self._begin(message, stream, args)
        await self.wait_at(BEFORE)
        self._raise_at(BEFORE, call)
        answer = self._answer()
        spoken = _AsyncSpoken(self, call, self._pieces(call))
        answer.content = spoken if stream else _joined([piece async for piece in spoken])
        self._append(answer)
        return answer

    async def wait_at(self, place: int) -> None:
        """Waits for the event of *place*, if it has one."""
        if place in self.script.gates:
            await asyncio.to_thread(self._wait, place)


class _Speech:
    """Where in its pieces an answer is."""

    def __init__(self, component: ScriptedComponent, call: Call, pieces: Sequence[Any]) -> None:
        self._component = component
        self._call = call
        self._pieces = pieces
        self._number = 0
        self._over = False

    def _has_next(self) -> bool:
        if self._over:
            return False
        self._component._raise_at(self._number, self._call)
        if self._number == len(self._pieces):
            self._over = True
            self._component.count("ends")
        return not self._over

    def _next(self) -> Any:
        self._number += 1
        self._component.count("said")
        return self._pieces[self._number - 1]

    def _close(self) -> None:
        self._over = True
        self._component.count("closes")


class _Spoken(_Speech, Iterator[Any]):
    def __next__(self) -> Any:
        if not self._over:
            self._component._wait(self._number)
        if not self._has_next():
            raise StopIteration
        return self._next()

    def close(self) -> None:
        self._close()


class _AsyncSpoken(_Speech, AsyncIterator[Any]):
    _component: AsyncScriptedComponent

    async def __anext__(self) -> Any:
        if not self._over:
            await self._component.wait_at(self._number)
        if not self._has_next():
            raise StopAsyncIteration
        return self._next()

    async def aclose(self) -> None:
        self._close()


def _joined(pieces: list[Any]) -> Any:
    """A whole answer: the text of the pieces, or the one piece that is not text."""
    if len(pieces) == 1 and not isinstance(pieces[0], str):
        return pieces[0]
    return "".join(map(str, pieces))
