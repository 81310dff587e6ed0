"""Models that answer by a script, without any server, and models that fail on request."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from appbuilder.core.context import current_context
from appbuilder.models import registry
from appbuilder.models.base import Delta, Model, ModelCall, ModelStream
from appbuilder.settings import Settings


class ScriptedModel:
    """A model that says *pieces*, or what it makes of a call.

    ``calls`` lists the calls it got; ``closes`` counts answers that were closed before their end.
    """

    def __init__(
        self,
        pieces: Sequence[str] | Callable[[ModelCall], Sequence[str]] = ("你", "好"),
        usage: Mapping[str, int] | None = None,
    ) -> None:
        self.calls: list[ModelCall] = []
        self.closes = 0
        self._pieces = pieces
        self._usage = usage

    def open(self, call: ModelCall) -> ModelStream:
        """Answers *call*."""
        self.calls.append(call)
        pieces = self._pieces(call) if callable(self._pieces) else self._pieces
        said = len("".join(pieces))
        usage = self._usage or {"prompt_tokens": 1, "completion_tokens": said, "total_tokens": said + 1}
        return _ScriptedStream([*map(Delta, pieces), Delta(usage=usage)], self)


class _ScriptedStream(Iterator[Delta]):
    id: str | None = None

    def __init__(self, deltas: Iterable[Delta], model: ScriptedModel) -> None:
        self._deltas = deque(deltas)
        self._model = model

    def __next__(self) -> Delta:
        if not self._deltas:
            raise StopIteration
        return self._deltas.popleft()

    def close(self) -> None:
        if self._deltas:
            self._deltas.clear()
            self._model.closes += 1


class Fault:
    """What goes wrong in one call.

    :param error: raised...
    :param after: ...when that many pieces were said; None: already by ``open``.
    :param silence: instead of an error: nothing more is said until this event, or until the turn is stopped.
    """

    def __init__(
        self,
        error: BaseException | None = None,
        after: int | None = None,
        silence: threading.Event | None = None,
    ) -> None:
        self.error = error
        self.after = after
        self.silence = silence

    def strike(self) -> None:
        """Waits for the event, then raises the error.

        :raises TurnCancelled: the current turn was stopped during the silence.
        """
        if self.silence is not None:
            context = current_context()
            if context is None:
                self.silence.wait()
            else:
                forget = context.cancel_token.on_cancel(self.silence.set)
                self.silence.wait()
                forget()
                context.cancel_token.raise_if_cancelled()
        if self.error is not None:
            raise self.error


class FaultyModel:
    """*model* with faults: the first call meets the first, and so on; None and those after them none."""

    def __init__(self, model: Model, *faults: Fault | None) -> None:
        self._model = model
        self._faults = deque(faults)

    def open(self, call: ModelCall) -> ModelStream:
        """Answers *call*, or fails as planned."""
        fault = self._faults.popleft() if self._faults else None
        if fault is None:
            return self._model.open(call)
        if fault.after is None:
            fault.strike()
        return _FaultyStream(self._model.open(call), fault)


class _FaultyStream(Iterator[Delta]):
    def __init__(self, inner: ModelStream, fault: Fault) -> None:
        self.id = inner.id
        self._inner = inner
        self._fault = fault
        self._said = 0

    def __next__(self) -> Delta:
        if self._said == self._fault.after:
            self._fault.strike()
        self._said += 1
        return next(self._inner)

    def close(self) -> None:
        self._inner.close()


@contextlib.contextmanager
def model_named(prefix: str, model: Model) -> Iterator[Model]:
    """In the ``with`` block the model names *prefix* and ``<prefix>/...`` mean *model*."""

    def the_model(_name: str, _settings: Settings) -> Model:
        return model

    registry.register(prefix, the_model)
    try:
        yield model
    finally:
        registry.register(prefix, None)
