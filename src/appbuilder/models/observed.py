"""Model calls that somebody watches: each is told when it begins and when it ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from appbuilder import clock
from appbuilder.core.steps import ModelStep, OnStep
from appbuilder.ids import new_id
from appbuilder.models.base import Delta, Model, ModelCall, ModelStream


def open_observed(model: Model, name: str, call: ModelCall, on_step: OnStep) -> ModelStream:
    """Opens *call* at *model* (see :meth:`appbuilder.models.base.Model.open`) and tells *on_step* of it.

    :param name: the name of the model.
    """
    watch = _Watch(name, call, on_step)
    try:
        return _Observed(model.open(call), watch)
    except BaseException as error:
        watch.end(error)
        raise


class _Watch:
    """Times one call and tells its end once."""

    def __init__(self, name: str, call: ModelCall, on_step: OnStep) -> None:
        self._on_step = on_step
        self._began = clock.monotonic()
        self._texts: list[str] = []
        self._step = ModelStep(new_id(), name, tuple(call.messages), clock.now())
        self._ended = False
        on_step(self._step)

    def take(self, delta: Delta) -> None:
        if delta.text:
            self._texts.append(delta.text)
        if delta.usage:
            self._step = replace(self._step, usage=dict(delta.usage))

    def end(self, error: BaseException | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        self._on_step(
            replace(
                self._step,
                ended=True,
                answer="".join(self._texts),
                milliseconds=round((clock.monotonic() - self._began) * 1000),
                error="" if error is None else type(error).__name__,
            )
        )


class _Observed(Iterator[Delta]):
    def __init__(self, stream: ModelStream, watch: _Watch) -> None:
        self.id = stream.id
        self._stream = stream
        self._watch = watch

    def __next__(self) -> Delta:
        try:
            delta = next(self._stream)
        except StopIteration:
            self._watch.end()
            raise
        except BaseException as error:
            self._watch.end(error)
            raise
        self._watch.take(delta)
        return delta

    def close(self) -> None:
        self._watch.end()
        self._stream.close()
