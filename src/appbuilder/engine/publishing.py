"""The way of a piece from the component into the log, and the limits on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from appbuilder import jsontext
from appbuilder.core.message import AsyncContentStream, ContentStream, Message
from appbuilder.engine.budget import Account
from appbuilder.engine.log import RunLog
from appbuilder.engine.meter import PIECE, AnswerLimits, Measured, measured
from appbuilder.errors import AppBuilderError


class Publisher:
    """The part of a turn that publishes what the component says.

    What it has said is measured when enough has come together, so that a piece costs an addition.
    """

    __slots__ = ("_is_full", "_limits", "_look_at", "_measured", "_put", "_said", "_size", "account", "log")

    def __init__(self, limits: AnswerLimits, account: Account) -> None:
        """:param account: what the answer takes of the memory."""
        self.log = RunLog()
        self.account = account
        self._limits = limits
        self._put = self.log.pieces.append
        self._said = self._size = self._measured = 0
        self._look_at = -1
        self._is_full = False

    def publish_head(self) -> None:
        """Puts what is there of the answer before its first piece into the log."""
        raise NotImplementedError

    def cancel(self, reason: AppBuilderError) -> None:
        """Stops the turn."""
        raise NotImplementedError

    def publish(self, piece: Any) -> None:
        """Puts a piece into the log. One beyond a limit is left out, and stops the turn."""
        if type(piece) is not str:
            piece = _sendable(piece)
            if type(piece) is bytes:
                self._publish_value(piece)
                return
        said = self._said = self._said + len(piece) + PIECE
        if said <= self._look_at or self._may_say(piece):
            # What log.append does: a call less, for each piece.
            self._put(piece)
            if self.log.wakers:
                self.log.wake()

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
            self.publish_head()
            self._look_at = self._limits.small
            if self._said <= self._look_at:
                return True
        parts = self._limits.parts(piece)
        if len(parts) > 1:
            for part in parts:
                self.publish(part)
            return False
        if not self._within_limits([*self.log.read(self._measured)[0], piece]):
            return False
        self._look_at = self._said + self._limits.room(self._size)
        return True

    def _publish_value(self, data: bytes) -> None:
        if self._look_at < 0:
            self.publish_head()
            self._look_at = 0
        if self._within_limits(self.log.read(self._measured)[0], data):
            self.log.append(json.loads(data))

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
        self._measured = self.log.count + 1
        return True

    def _add(self, more: Measured) -> None:
        self._limits.check(self._size + more.size)
        self.account.take(more.memory)
        self._size += more.size


def _measured_json(data: bytes) -> Measured:
    return Measured(len(data), 2 * jsontext.memory_of(data))


def _sendable(piece: Any) -> str | bytes:
    """A piece as it is now: text as text, None as empty text, other values as their JSON.

    :raises Exception: it cannot be written as JSON, a circle for instance.
    """
    if isinstance(piece, Message):
        return _sendable(piece.content)
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
