"""An application's events as steps of the run: one step per event, updated while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from appbuilder import clock
from appbuilder.components.app_client.schemas import Event
from appbuilder.events import Step
from appbuilder.ids import new_id
from appbuilder.jsontext import clean

_GOES_ON = {"preparing", "running"}


class StepRecorder:
    """Tells the events of one run.

    :param on_step: takes the steps; None: they are not wanted.
    """

    def __init__(self, on_step: Callable[[Step], None] | None) -> None:
        self._on_step = on_step
        self._steps: dict[tuple[str, str], Step] = {}
        self._told: dict[str, Step] = {}

    def tell(self, event: Event) -> None:
        """Takes an event, which may go on with one before: the same type and the same id."""
        if self._on_step is None or not event.event_type:
            return
        key = (event.event_type, str((event.model_extra or {}).get("event_id", "")))
        before = self._steps.get(key)
        step = Step(
            id=before.id if before is not None else new_id(),
            name=event.event_type,
            detail=_joined(before.detail if before is not None else {}, event),
            started_at=before.started_at if before is not None else clock.now().isoformat(),
            ended=event.status not in _GOES_ON,
            error=_error(event) or None,
        )
        self._steps[key] = step
        if not _only_longer(self._told.get(step.id), step):
            self._tell(step)

    def end(self) -> None:
        """Reports what was not reported yet; nothing goes on."""
        for step in self._steps.values():
            if self._told.get(step.id) is not step or not step.ended:
                self._tell(replace(step, ended=True))

    def _tell(self, step: Step) -> None:
        assert self._on_step is not None
        self._told[step.id] = step
        self._on_step(step)


def _only_longer(told: Step | None, step: Step) -> bool:
    """Whether *step* is what was *told* with a little more text: sent each time, a long text would be sent
    and kept as often as it has pieces."""
    if told is None or step.ended or _beside_text(told) != _beside_text(step):
        return False
    text, longer = (str(one.detail.get("text", "")) for one in (told, step))
    return 2 * len(longer) < 3 * len(text)


def _beside_text(step: Step) -> tuple[bool, str | None, dict[str, Any]]:
    return step.ended, step.error, {**step.detail, "text": ""}


def _error(event: Event) -> str:
    failed = event.code != 0 or event.status == "error"
    return (event.message or f"{event.status} {event.code}".strip()) if failed else ""


def _joined(before: dict[str, Any], event: Event) -> dict[str, Any]:
    """What is known of an event by now; text comes in pieces, the rest whole."""
    detail = {**before, **event.detail}
    text, further = before.get("text"), event.detail.get("text")
    if isinstance(text, str) and isinstance(further, str):
        detail["text"] = clean(text + further)
    if event.usage is not None:
        detail["usage"] = event.usage.model_dump()
    return detail
