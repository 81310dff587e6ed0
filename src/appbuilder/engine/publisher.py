"""The way of text and events from the component into the log, and the limits on it."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

from appbuilder import jsontext
from appbuilder.core.events import OUTPUT, LoggedEvent
from appbuilder.core.message import AsyncContentStream, ContentStream, Message
from appbuilder.engine.answer_limits import AnswerLimits, Measured, measured
from appbuilder.engine.log import ENTRY, RunLog
from appbuilder.engine.memory_budget import Account
from appbuilder.engine.reader import lagging
from appbuilder.errors import AppBuilderError
from appbuilder.events import KINDS, Event, Text


class Publisher:
    """The part of a turn that publishes what the component says.

    What it has said is measured when enough has come together, so that a piece costs an addition.
    """

    def __init__(self, limits: AnswerLimits, account: Account) -> None:
        """:param account: what the answer takes of the memory."""
        self.log = RunLog()
        self.account = account
        self.has_emitted_text = False
        self._limits = limits
        self._put = self.log.entries.append
        self._said = self._size = self._measured = 0
        self._look_at = -1
        self._is_full = False
        self._lock = threading.Lock()

    def publish_head(self) -> None:
        """Puts what is there of the answer before its first piece into the log."""
        raise NotImplementedError

    def cancel(self, reason: AppBuilderError) -> None:
        """Stops the turn."""
        raise NotImplementedError

    def publish(self, piece: Any) -> bool | None:
        """Puts what a component yielded into the log. What is beyond a limit is left out, and stops the turn.

        :returns: True if the component is to wait for its readers (:attr:`is_ahead`).
        """
        if type(piece) is not str:
            if isinstance(piece, Event):
                return self.publish_event(piece)
            piece = _to_json_value(piece)
            if type(piece) is bytes:
                return self._publish_value(piece)
        said = self._said = self._said + len(piece) + ENTRY
        if said <= self._look_at:
            # What log.append does: a call less, for each piece.
            self._put(piece)
            if self.log.wakers:
                self.log.wake()
            return None
        if self._may_say(piece):
            self.log.append(piece)
        return self.is_ahead

    def emit(self, event: Event) -> None:
        """Puts *event* into the log, from any thread of the run; does nothing where the run has ended.

        :raises TypeError: *event* is not one of :mod:`appbuilder.events`.
        :raises AnswerError: its members are not JSON.
        """
        if not isinstance(event, Event):
            raise TypeError(f"emit takes an event of appbuilder.events, not {type(event).__name__}.")
        if self.log.outcome is None:
            with self._lock:
                self.has_emitted_text |= isinstance(event, Text)
                self.publish(event.delta if isinstance(event, Text) else event)

    def record_step(self, event: Event) -> None:
        """Puts a step of the product's own into the log; it does not count as part of the answer."""
        data = _json(event.data())
        try:
            self.account.take(2 * len(data))
        except AppBuilderError as error:
            self.cancel(error.with_traceback(None))
            return
        self.log.append(LoggedEvent(event.event_kind, json.loads(data), len(data)))

    def publish_event(self, event: Event) -> bool | None:
        """:meth:`publish` of an event that is not text."""
        if event.event_kind not in KINDS:
            raise TypeError(f"{event.event_kind!r} is not a kind of event; use Custom.")
        data = _json(event.data())
        return self._log_value(event.event_kind, data, json.loads(data))

    @property
    def is_ahead(self) -> bool:
        """Whether every reader is so far behind that the component has to wait; cuts those behind others."""
        readers = self.log.readers
        if not readers or not self._limits.unread:
            return False
        waits, late = lagging(self._said, list(readers), self._limits.unread)
        if late:
            self.log.cut(late)
        return waits

    def cut_readers(self) -> None:
        """Ends reading for readers that are too far behind: the run goes on without them."""
        most = self._limits.unread
        self.log.cut([reader for reader in list(self.log.readers) if self._said - reader.taken > most])

    def measure_whole(self, content: Any) -> None:
        """Measures an answer that came whole; one that is still to be read is measured by its pieces.

        :raises AnswerTooLarge, RateLimited, Overloaded: it is beyond a limit.
        """
        if type(content) is str:
            if len(content) > self._limits.small:
                self._add(measured((content,)))
        elif content is not None and not isinstance(content, (ContentStream, AsyncContentStream)):
            self._add(_measured_json(_json(content)))

    def _may_say(self, piece: str) -> bool:
        """Whether *piece*, which is the first or has many unmeasured before it, is to be put into the log."""
        if self._look_at < 0:
            self.log.has_spoken = True
            self.publish_head()
            self._look_at = self._limits.small
            if self._said <= self._look_at:
                return True
        parts = self._limits.parts(piece)
        if len(parts) > 1:
            self._said -= len(piece) + ENTRY
            for part in parts:
                self.publish(part)
            return False
        if not self._within_limits([*self._unmeasured(), piece]):
            return False
        self._look_at = self._said + self._limits.room(self._size)
        return True

    def _unmeasured(self) -> list[str]:
        return [entry for entry in self.log.entries[self._measured :] if type(entry) is str]

    def _publish_value(self, data: bytes) -> bool | None:
        if self._look_at < 0:
            self.publish_head()
            self._look_at = 0
        return self._log_value(OUTPUT, data, {"value": json.loads(data)})

    def _log_value(self, kind: str, data: bytes, members: dict[str, Any]) -> bool | None:
        if not self._within_limits(self._unmeasured(), data):
            return None
        self._said += len(data) + ENTRY
        self.log.append(LoggedEvent(kind, members, len(data)))
        return self.is_ahead

    def _within_limits(self, texts: Sequence[str], value: bytes = b"") -> bool:
        if self._is_full:
            return False
        try:
            if texts:
                self._add(measured(texts))
            if value:
                self._add(_measured_json(value))
        except AppBuilderError as error:
            self._is_full = True
            self.cancel(error.with_traceback(None))  # whose frames would keep all that was said
            return False
        self._measured = len(self.log.entries) + 1
        return True

    def _add(self, more: Measured) -> None:
        self._limits.check(self._size + more.size)
        self.account.take(more.memory)
        self._size += more.size


def _measured_json(data: bytes) -> Measured:
    return Measured(len(data), 2 * jsontext.memory_of(data))


def _to_json_value(piece: Any) -> str | bytes:
    """A piece as it is now: text as text, None as empty text, other values as their JSON.

    :raises Exception: it cannot be written as JSON, a circle for instance.
    """
    if isinstance(piece, Message):
        return _to_json_value(piece.content)
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes(piece).decode("utf-8", "replace")
    if isinstance(piece, (ContentStream, AsyncContentStream)):
        return piece.so_far()
    if isinstance(piece, str):
        return jsontext.clean(piece)
    return "" if piece is None else _json(piece)


def _json(value: Any) -> bytes:
    if jsontext.size_of(value) <= jsontext.LONG:
        return jsontext.dumps(value)
    with jsontext.long_texts_expected():
        return jsontext.dumps(value)
