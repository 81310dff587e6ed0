"""What is kept of a turn so that its conversation can be opened again; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from appbuilder.core.attachment import Attachment
from appbuilder.core.conversations import title_of
from appbuilder.core.message import Message, dump, text_of
from appbuilder.core.store import COMPLETE, FAILED, INCOMPLETE, STATE, TurnEntry
from appbuilder.engine.fold import Folded
from appbuilder.engine.machine import Ending
from appbuilder.errors import AppBuilderError, is_stop

_STATES = {Ending.WHOLE: COMPLETE, Ending.CUT: INCOMPLETE, Ending.FAILED: FAILED}


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Asks the engine to keep a turn for the conversation repository.

    :param turn_id: id of the turn's row, 36 characters, and of the answer where it is shown.
    :param owner: who began the conversation.
    :param explain: what a reader may see of an error, as JSON members.
    :param texts: False: only whose conversation it is, where the component keeps something of it.
    :param note: further members of the turn's row, JSON values: what a protocol has to remember of it.
    """

    turn_id: str
    owner: str
    explain: Callable[[AppBuilderError], Mapping[str, Any]]
    texts: bool = True
    note: Mapping[str, Any] = field(default_factory=dict)


def turn_entry(
    policy: RetentionPolicy,
    ending: Ending,
    *,
    message: Any,
    answer: Mapping[str, Any] | None,
    said: Folded | None,
    error: AppBuilderError | None,
    attachments: Sequence[Attachment] = (),
    milliseconds: int | None = None,
) -> TurnEntry:
    """The turn's entry.

    :param message: what the user said, as it came.
    :param answer: JSON members of the component's answer, if there is one.
    :param said: what the log comes to; its content is what was shown, None: nothing was.
    :param milliseconds: since it was asked.
    """
    if not policy.texts:
        return TurnEntry(policy.turn_id, policy.owner, "", {})
    members = dict(answer) if answer is not None else dump(Message(""))
    if said is not None:
        # What was shown: a component that was cut may have taken its answer back, or changed it.
        members["content"] = said.content
    value: dict[str, Any] = {
        **policy.note,
        "input": dump(Message(message)),
        "answer": members,
        STATE: _STATES[ending],
    }
    if milliseconds is not None:
        value["milliseconds"] = milliseconds
    if said is not None and said.events:
        value["events"] = list(said.events)
    if attachments:
        value["attachments"] = [{"name": each.name, "mime": each.mime} for each in attachments]
    if error is not None and (ending is Ending.FAILED or not is_stop(error)):
        value["error"] = dict(policy.explain(error))
    return TurnEntry(policy.turn_id, policy.owner, title_of(text_of(message)), value)
