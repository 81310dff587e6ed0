"""Responses: requests, and responses as objects. Their streams are in :mod:`response_events`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appbuilder.core.message import text_of
from appbuilder.errors import InvalidRequest, NotFound
from appbuilder.ids import is_new_id
from appbuilder.wire.chat import checked_id
from appbuilder.wire.openai import reading
from appbuilder.wire.openai.messages import Talk, check_content, talk
from appbuilder.wire.openai.usage import Usage

_PREFIX = "resp_"
_OURS = (
    "model",
    "input",
    "instructions",
    "stream",
    "stream_options",
    "store",
    "session_id",
    "metadata",
    "message",
    "conversation",
    "previous_response_id",
    "background",
)
ROLES = ("system", "developer", "user", "assistant")
"""Of the messages of an input."""
_TOLD_AGAIN = ("temperature", "top_p", "max_output_tokens", "user")


@dataclass(frozen=True, slots=True)
class ResponseCall:
    """A request.

    :param args: keyword arguments for the component's ``run``.
    :param session_id: the session the body names, as ``conversation`` or as our own members.
    :param previous: id of the turn whose conversation goes on; None: none is named.
    :param store: False: nothing of the turn is to be kept.
    :param told_again: members of the request that its response repeats.
    """

    talk: Talk
    args: Mapping[str, Any]
    stream: bool
    session_id: str | None
    previous: str | None
    store: bool
    told_again: Mapping[str, Any]


def read(body: Mapping[str, Any], *, model: str, takes: frozenset[str]) -> ResponseCall:
    """Reads a request.

    :param model: the service's only one.
    :param takes: names of the arguments the component's ``run`` takes.
    :raises InvalidRequest: a member is missing, or has a wrong type or value; ``param`` says which.
    :raises NotFound: the request is for another model, or goes on from a response that cannot be.
    """
    reading.check_model(body, model)
    asked = _read_input(body.get("input"))
    instructions = reading.text(body, "instructions")
    if reading.flag(body, "background"):
        raise reading.unfit("background", "false: responses are answered while the caller waits")
    reading.check_sampling(body)
    system = "\n\n".join(filter(None, (instructions, asked.system)))
    members = {name: value for name, value in body.items() if name not in _OURS}
    messages = [{"role": "system", "content": instructions}] if instructions else []
    return ResponseCall(
        talk=asked,
        args=reading.passed_on(
            members, takes, messages=[*messages, *asked.messages], system=system, instructions=instructions
        ),
        stream=reading.flag(body, "stream"),
        session_id=_session_of(body),
        previous=_previous(body),
        store=reading.flag(body, "store", default=True),
        told_again={
            "instructions": instructions,
            "metadata": dict(reading.members(body, "metadata")),
            "previous_response_id": body.get("previous_response_id"),
            **{name: body.get(name) for name in _TOLD_AGAIN},
        },
    )


def response_id(turn_id: str) -> str:
    """The id of the response that is the answer of a turn."""
    return _PREFIX + turn_id


def turn_of(response: str, param: str = "") -> str:
    """The turn a response's id stands for.

    :raises NotFound: it is none of ours.
    """
    turn_id = response.removeprefix(_PREFIX)
    if not response.startswith(_PREFIX) or not is_new_id(turn_id):
        raise no_response(response, param)
    return turn_id


def no_response(response: str, param: str = "") -> NotFound:
    """The error where there is no such response, or it is somebody else's."""
    return NotFound(f"There is no response {response[:100]!r}.", param=param)


def not_newest() -> InvalidRequest:
    """The error where a session went on after the response that is to be gone on from."""
    return InvalidRequest(
        "The conversation went on after this response; only its newest response can be continued.",
        param="previous_response_id",
    )


@dataclass(frozen=True, slots=True)
class Response:
    """What the states of one response share.

    :param id: ``resp_`` and the id of the turn.
    :param created: seconds since 1970.
    :param told_again: members of the request; empty where the response is read from the store.
    """

    id: str
    created: int
    model: str
    session_id: str
    store: bool
    told_again: Mapping[str, Any]

    @property
    def item_id(self) -> str:
        """The id of its one message."""
        return "msg_" + self.id.removeprefix(_PREFIX)

    def members(
        self,
        status: str,
        *,
        content: Any = None,
        usage: Usage | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The response as an object.

        :param status: ``in_progress``, ``completed``, ``failed`` or ``incomplete``.
        :param content: of the answer; None: there is nothing of it.
        :param usage: None: nobody counted the tokens.
        """
        empty = dict.fromkeys(("instructions", "previous_response_id", *_TOLD_AGAIN))
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": False,
            "error": error,
            "incomplete_details": {"reason": None} if status == "incomplete" else None,
            "model": self.model,
            "output": [] if content is None else [self.item(status, text_of(content))],
            "parallel_tool_calls": False,
            "conversation": {"id": self.session_id},
            "store": self.store,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "truncation": "disabled",
            "usage": None if usage is None else usage.for_responses(),
            "metadata": {},
            **empty,
            **self.told_again,
        }

    def item(self, status: str, text: str | None) -> dict[str, Any]:
        """Its message; *text* None: not begun yet."""
        return {
            "id": self.item_id,
            "type": "message",
            "role": "assistant",
            "status": "incomplete" if status == "failed" else status,
            "content": [] if text is None else [part(text)],
        }


def part(text: str) -> dict[str, Any]:
    """The one part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _read_input(value: Any) -> Talk:
    if isinstance(value, str):
        return talk([{"role": "user", "content": value}], "input")
    if not isinstance(value, list) or not value:
        raise reading.unfit("input", "a string, or an array of at least one item")
    items = [_item(each, f"input[{at}]") for at, each in enumerate(value)]
    return talk([each for each in items if each is not None], "input")


def _item(value: Any, name: str) -> Mapping[str, Any] | None:
    """A message of the input; None: an item of another kind, of which a component has no use."""
    if not isinstance(value, dict):
        raise reading.unfit(name, "an object")
    kind = value.get("type", "message")
    if not isinstance(kind, str):
        raise reading.unfit(f"{name}.type", "a string")
    if kind != "message":
        return None
    if value.get("role") not in ROLES:
        raise reading.unfit(f"{name}.role", f"one of {', '.join(ROLES)}")
    check_content(value.get("content"), f"{name}.content")
    return {"role": value["role"], "content": value["content"]}


def _session_of(body: Mapping[str, Any]) -> str | None:
    named = body.get("conversation")
    if isinstance(named, dict):
        named = named.get("id", "")
    if named is None:
        return reading.session_of(body)
    if body.get("previous_response_id") is not None:
        raise InvalidRequest(
            "Name the conversation or the previous response, not both.", param="previous_response_id"
        )
    return checked_id(named, "conversation")


def _previous(body: Mapping[str, Any]) -> str | None:
    named = reading.text(body, "previous_response_id")
    return None if named is None else turn_of(named, "previous_response_id")
