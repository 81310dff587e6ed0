"""Model calls that are watched: whoever it is, each watch is reported once how the call ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from appbuilder import telemetry, tracing
from appbuilder.models.base import Delta, Model, ModelCall, ModelStream

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class Watch(Protocol):
    """Is notified of one call, in the thread that makes it. Must return soon and raise nothing."""

    def take(self, delta: Delta) -> None:
        """A piece came."""

    def end(self, error: BaseException | None) -> None:
        """The call ended, or failed with *error*; called once."""


class TokenCounter:
    """Tells the sink how many tokens a call took."""

    def __init__(self) -> None:
        self._prompt = self._completion = 0

    def take(self, delta: Delta) -> None:
        if delta.usage:
            self._prompt = delta.usage.get("prompt_tokens", self._prompt)
            self._completion = delta.usage.get("completion_tokens", self._completion)

    def end(self, error: BaseException | None) -> None:
        telemetry.current.tokens(self._prompt, self._completion)


def open_watched(
    model: Model, call: ModelCall, watches: Sequence[Watch], span: Span | None = None
) -> ModelStream:
    """Opens *call* at *model* (see :meth:`appbuilder.models.base.Model.open`) and tells *watches* of it.

    :param span: the current one while the call is sent.
    """
    try:
        with contextlib.nullcontext() if span is None else tracing.current(span):
            return _Watched(model.open(call), watches)
    except BaseException as error:
        for watch in watches:
            watch.end(error)
        raise


class _Watched(Iterator[Delta]):
    def __init__(self, stream: ModelStream, watches: Sequence[Watch]) -> None:
        self.id = stream.id
        self._stream = stream
        self._watches = watches
        self._ended = False

    def __next__(self) -> Delta:
        try:
            delta = next(self._stream)
        except StopIteration:
            self._end(None)
            raise
        except BaseException as error:
            self._end(error)
            raise
        for watch in self._watches:
            watch.take(delta)
        return delta

    def close(self) -> None:
        self._end(None)
        self._stream.close()

    def _end(self, error: BaseException | None) -> None:
        if not self._ended:
            self._ended = True
            for watch in self._watches:
                watch.end(error)
