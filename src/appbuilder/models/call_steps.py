"""Model calls as steps of the run: each is logged when it begins and when it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from appbuilder import clock
from appbuilder.core.message import text_of
from appbuilder.events import Event, Step
from appbuilder.ids import new_id
from appbuilder.models.base import Delta, ModelCall

LONGEST_STEP_TEXT = 20_000
"""Characters of a prompt or an answer kept of a step; a step is for looking at, not for going on from."""


class StepRecorder:
    """Times one call and makes a step of it.

    :param name: the name of the model.
    """

    def __init__(self, name: str, call: ModelCall, on_step: Callable[[Event], None]) -> None:
        self._on_step = on_step
        self._name = name
        self._id = new_id()
        self._began, self._started_at = clock.monotonic(), clock.now().isoformat()
        self._prompt = [_cut(message) for message in call.messages]
        self._texts: list[str] = []
        self._usage: Mapping[str, int] = {}
        self._tell(ended=False)

    def take(self, delta: Delta) -> None:
        """See :class:`appbuilder.models.call_watches.Watch`."""
        if delta.text:
            self._texts.append(delta.text)
        if delta.usage:
            self._usage = dict(delta.usage)

    def end(self, error: BaseException | None) -> None:
        """See :class:`appbuilder.models.call_watches.Watch`."""
        self._tell(ended=True, error=None if error is None else type(error).__name__)

    def _tell(self, *, ended: bool, error: str | None = None) -> None:
        answer = "".join(self._texts)[:LONGEST_STEP_TEXT]
        step = Step(
            self._id,
            self._name,
            "model",
            ended=ended,
            detail={"prompt": self._prompt, "answer": answer},
            usage=self._usage,
            milliseconds=round((clock.monotonic() - self._began) * 1000) if ended else None,
            started_at=self._started_at,
            error=error,
        )
        self._on_step(step)


def _cut(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: text_of(value)[:LONGEST_STEP_TEXT] for name, value in message.items()}
