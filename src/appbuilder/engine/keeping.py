"""What is kept of a turn so that its conversation can be opened again; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from appbuilder.core.attachment import Attachment
from appbuilder.core.catalogue import title_of
from appbuilder.core.message import Message, dump, text_of
from appbuilder.core.steps import EventStep, Step
from appbuilder.core.store import COMPLETE, FAILED, INCOMPLETE, STATE, TurnEntry
from appbuilder.engine.machine import Ending
from appbuilder.errors import AppBuilderError, is_stop

LONGEST_STEP_TEXT = 20_000
"""Characters of a prompt or an answer kept of a step; a step is for looking at, not for going on from."""

_STATES = {Ending.WHOLE: COMPLETE, Ending.CUT: INCOMPLETE, Ending.FAILED: FAILED}


@dataclass(frozen=True, slots=True)
class Keeping:
    """Asks the engine to keep a turn for the catalogue.

    :param turn_id: id of the turn's row, 36 characters, and of the answer where it is shown.
    :param owner: who began the conversation.
    :param explain: what a reader may be told of an error, as JSON members.
    :param texts: False: only whose conversation it is, where the component keeps something of it.
    :param note: further members of the turn's row, JSON values: what a protocol has to remember of it.
    """

    turn_id: str
    owner: str
    explain: Callable[[AppBuilderError], Mapping[str, Any]]
    texts: bool = True
    note: Mapping[str, Any] = field(default_factory=dict)


def entry(
    keeping: Keeping,
    ending: Ending,
    *,
    message: Any,
    answer: Message[Any] | None,
    pieces: Sequence[Any],
    steps: Sequence[Step],
    error: AppBuilderError | None,
    attachments: Sequence[Attachment] = (),
    milliseconds: int | None = None,
) -> TurnEntry:
    """The turn's entry.

    :param message: what the user said, as it came.
    :param pieces: what was published of the answer.
    :param milliseconds: since it was asked.
    """
    if not keeping.texts:
        return TurnEntry(keeping.turn_id, keeping.owner, "", {})
    value: dict[str, Any] = {
        **keeping.note,
        "input": dump(Message(message)),
        "answer": _answer(answer, pieces),
        STATE: _STATES[ending],
    }
    if milliseconds is not None:
        value["milliseconds"] = milliseconds
    if any(type(piece) is not str for piece in pieces):
        # Typed outputs: joined they could not be told apart again.
        value["pieces"] = list(pieces)
    if attachments:
        value["attachments"] = [{"name": each.name, "mime": each.mime} for each in attachments]
    if steps:
        # The last word on each, in the order they began.
        value["steps"] = [step_members(step) for step in {step.id: step for step in steps}.values()]
    if error is not None and (ending is Ending.FAILED or not is_stop(error)):
        value["error"] = dict(keeping.explain(error))
    return TurnEntry(keeping.turn_id, keeping.owner, title_of(text_of(message)), value)


def _answer(answer: Message[Any] | None, pieces: Sequence[Any]) -> dict[str, Any]:
    members = dump(answer) if answer is not None else dump(Message(""))
    if pieces:
        # What was shown: a component that was cut may have taken its answer back, or changed it.
        members["content"] = "".join(map(text_of, pieces)) if len(pieces) > 1 else pieces[0]
    return members


def step_members(step: Step) -> dict[str, Any]:
    """A step as JSON members, long texts cut."""
    if isinstance(step, EventStep):
        return {
            "kind": "event",
            "id": step.id,
            "name": step.name,
            "detail": step.detail,
            "started_at": step.started_at.isoformat(),
            "error": step.error,
        }
    return {
        "kind": "model",
        "id": step.id,
        "model": step.model,
        "prompt": [_cut(message) for message in step.prompt],
        "answer": step.answer[:LONGEST_STEP_TEXT],
        "usage": dict(step.usage),
        "milliseconds": step.milliseconds,
        "started_at": step.started_at.isoformat(),
        "error": step.error,
    }


def _cut(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: text_of(value)[:LONGEST_STEP_TEXT] for name, value in message.items()}
