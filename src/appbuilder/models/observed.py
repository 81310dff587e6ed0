"""Model calls as steps: each is told when it begins and when it ended."""

from __future__ import annotations

from dataclasses import replace

from appbuilder import clock
from appbuilder.core.steps import ModelStep, OnStep
from appbuilder.ids import new_id
from appbuilder.models.base import Delta, ModelCall


class StepWatch:
    """Times one call and tells of it.

    :param name: the name of the model.
    """

    def __init__(self, name: str, call: ModelCall, on_step: OnStep) -> None:
        self._on_step = on_step
        self._began = clock.monotonic()
        self._texts: list[str] = []
        self._step = ModelStep(new_id(), name, tuple(call.messages), clock.now())
        on_step(self._step)

    def take(self, delta: Delta) -> None:
        """See :class:`appbuilder.models.watched.Watch`."""
        if delta.text:
            self._texts.append(delta.text)
        if delta.usage:
            self._step = replace(self._step, usage=dict(delta.usage))

    def end(self, error: BaseException | None) -> None:
        """See :class:`appbuilder.models.watched.Watch`."""
        self._on_step(
            replace(
                self._step,
                ended=True,
                answer="".join(self._texts),
                milliseconds=round((clock.monotonic() - self._began) * 1000),
                error="" if error is None else type(error).__name__,
            )
        )
