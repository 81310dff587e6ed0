"""Answers of an application: read from bytes, and put together from their pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import httpx2

from appbuilder.components.app_client.schemas import AppBuilderClientAnswer, Event
from appbuilder.core.message import ContentStream, Message
from appbuilder.errors import ModelUnavailable
from appbuilder.jsontext import Halves, NotJson, clean
from appbuilder.models.failures import Failure
from appbuilder.models.gateway_protocol import REQUEST_ID, Events
from appbuilder.models.gateway_protocol import whole as whole_members
from appbuilder.models.timeouts import Patience

MAX_ANSWER = 32 * 1024 * 1024
"""Bytes of all events of one answer; a piece of text comes in some hundred of them."""

_EVENT_NAMES = {
    "event_code": "code",
    "event_message": "message",
    "event_status": "status",
    "outputs": "detail",
}


def answer_of(response: Mapping[str, Any]) -> AppBuilderClientAnswer:
    """What the service sent, under the SDK's names; members it does not know keep theirs.

    :raises ValueError: a member has a type it cannot have.
    """
    members = dict(response)
    steps = members.pop("content", None)
    members["events"] = list(map(_event, steps)) if isinstance(steps, list) else steps
    return AppBuilderClientAnswer.model_validate(members)


def streamed(
    response: httpx2.Response, patience: Patience, callers_credential: bool
) -> Iterator[AppBuilderClientAnswer]:
    """The pieces of a streamed answer, each as soon as it is there.

    :raises Failure: (while iterating) the service tells an error, or the answer was cut short.
    :raises ValueError: (while iterating) a piece cannot be read, or the answer has no end.
    """
    events, halves, total, last = Events(response, patience, callers_credential), Halves(), 0, Event()
    for members, size in events:
        total += size
        if total > MAX_ANSWER:
            raise NotJson("the answer is longer than 32 MiB")
        answer = answer_of(members)
        answer.answer = halves.join(answer.answer)
        if answer.text.strip() or any(_says(event, last) for event in answer.events):
            patience.renew()
        last = answer.events[-1] if answer.events else last
        events.ended = events.ended or members.get("is_completion") is True or _waits(answer)
        yield answer
    if rest := halves.end():
        yield AppBuilderClientAnswer(answer=rest)
    if not events.ended:
        call_id = response.headers.get(REQUEST_ID, "")
        raise Failure(ModelUnavailable("AppBuilder's answer was cut short.", request_id=call_id))


def whole(
    response: httpx2.Response, patience: Patience, callers_credential: bool
) -> Iterator[AppBuilderClientAnswer]:
    """The one piece of an answer that is not streamed.

    :raises Failure: (while iterating) the service tells an error.
    :raises ValueError: (while iterating) it cannot be read.
    """
    answer = answer_of(whole_members(response, patience, callers_credential))
    answer.answer = clean(answer.answer)
    yield answer


def merged(answers: Iterable[AppBuilderClientAnswer]) -> AppBuilderClientAnswer:
    """The answer whose pieces *answers* are: their texts joined, their events in order, else the last's."""
    members: dict[str, Any] = {}
    texts: list[str] = []
    events: list[Event] = []
    message_id = ""
    for answer in answers:
        texts.append(answer.answer)
        events.extend(answer.events)
        message_id = answer.message_id or message_id
        members.update(answer.model_extra or {})
    made = {"answer": "".join(texts), "message_id": message_id, "events": events}
    return AppBuilderClientAnswer.model_validate(members | made)


def stream_message(pieces: Iterator[AppBuilderClientAnswer]) -> Message[Any]:
    """A message whose content iterates over *pieces*, and is the :func:`merged` answer when they ended."""
    message: Message[Any] = Message()
    message.content = _Answers(pieces, message)
    return message


class _Answers(ContentStream):
    def __init__(self, source: Iterator[AppBuilderClientAnswer], message: Message[Any]) -> None:
        super().__init__(source, message)
        self._answers: list[AppBuilderClientAnswer] = []

    def __next__(self) -> AppBuilderClientAnswer:
        answer = self._forward()
        self._answers.append(answer)
        return answer

    def so_far(self) -> AppBuilderClientAnswer:  # type: ignore[override]  # where others have text
        return merged(self._answers)

    def _forward(self) -> AppBuilderClientAnswer:
        try:
            return next(self._source)  # type: ignore[no-any-return]
        except StopIteration:
            self._settle()
            raise


def _event(step: Any) -> Any:
    if not isinstance(step, dict):
        return step
    return {_EVENT_NAMES.get(name, name): value for name, value in step.items()}


def _says(event: Event, last: Event) -> bool:
    """Whether *event* says more than that it goes on: the same once more is a sign of life, no progress."""
    text = event.detail.get("text")
    return (isinstance(text, str) and bool(text.strip())) or event != last


def _waits(answer: AppBuilderClientAnswer) -> bool:
    """Whether the run stopped here because it needs something: a tool's output, or the user's word."""
    stopped = any(event.status == "interrupt" for event in answer.events)
    return stopped or answer.interrupt_event_id is not None
