"""Responses as objects. Requests are in :mod:`response_input`, streams in :mod:`response_events`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appbuilder.core.message import text_of
from appbuilder.errors import InvalidRequest, NotFound
from appbuilder.ids import is_new_id
from appbuilder.protocols.openai.finish_reasons import STOPPED, finish_reason, incomplete_reason
from appbuilder.protocols.openai.usage import Usage, usage_of

_PREFIX = "resp_"
_ITEM_PREFIX = "msg_"

_DEFAULTS: Mapping[str, Any] = {
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response says of members that its request left out; OpenAI's own values."""
ECHOED = (*_DEFAULTS, "prompt_cache_retention", "prompt")
"""Members of a request that its response repeats."""
_OF_TOOL = {"description": None, "parameters": None, "strict": None}


def response_id(turn_id: str) -> str:
    """The id of the response that is the answer of a turn."""
    return _PREFIX + turn_id


def turn_of(response: str, param: str = "") -> str:
    """The turn a response's id stands for.

    :raises NotFound: there is no such response.
    """
    turn_id = response.removeprefix(_PREFIX)
    if not response.startswith(_PREFIX) or not is_new_id(turn_id):
        raise no_response(response, param)
    return turn_id


def turn_of_item(item: str) -> str:
    """The turn whose answer an item is.

    :raises NotFound: there is no such item.
    """
    turn_id = item.removeprefix(_ITEM_PREFIX)
    if not item.startswith(_ITEM_PREFIX) or not is_new_id(turn_id):
        raise no_item(item)
    return turn_id


def no_response(response: str, param: str = "") -> NotFound:
    """The error where there is no such response, or the caller may not see it."""
    return NotFound(f"There is no response {response[:100]!r}.", param=param)


def no_item(item: str) -> NotFound:
    """The error where there is no such item, or the caller may not see it."""
    return NotFound(f"There is no item {item[:100]!r}.", param="input")


def not_newest(param: str = "previous_response_id") -> InvalidRequest:
    """The error where a session went on after the response that is to be gone on from."""
    return InvalidRequest(
        "The conversation went on after this response; only its newest response can be continued.",
        param=param,
    )


@dataclass(frozen=True, slots=True)
class Response:
    """What the states of one response share.

    :param id: ``resp_`` and the id of the turn.
    :param created: seconds since 1970.
    :param session_id: None: it belongs to no conversation.
    :param store: whether it can be read again.
    :param asked: members of the request, those of :data:`ECHOED`.
    """

    id: str
    created: int
    model: str
    session_id: str | None
    store: bool
    asked: Mapping[str, Any]

    @property
    def item_id(self) -> str:
        """The id of its one message."""
        return _ITEM_PREFIX + self.id.removeprefix(_PREFIX)

    def members(
        self,
        status: str,
        *,
        content: Any = None,
        usage: Usage | None = None,
        error: Mapping[str, Any] | None = None,
        completed: int | None = None,
        reason: str | None = None,
    ) -> dict[str, Any]:
        """The response as an object, with every member that the Open Responses schema requires.

        :param status: ``in_progress``, ``completed``, ``failed`` or ``incomplete``.
        :param content: of the answer; None: there is nothing of it.
        :param usage: None: the tokens were not counted.
        :param completed: when it was, in seconds since 1970.
        :param reason: why it is incomplete.
        """
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "completed_at": completed,
            "status": status,
            "background": False,
            "error": error,
            "incomplete_details": None if reason is None else {"reason": reason},
            "model": self.model,
            "output": [] if content is None else [self.item(status, text_of(content))],
            "conversation": None if self.session_id is None else {"id": self.session_id},
            "store": self.store,
            "usage": None if usage is None else usage.for_responses(),
            **_DEFAULTS,
            **_stored_members(self.asked),
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


def answered(response: Response, answer: Mapping[str, Any], completed: int) -> dict[str, Any]:
    """The object of a response whose run came to its end: completed, or incomplete as the component says.

    :param answer: the answer's members.
    :param completed: when that was, in seconds since 1970.
    """
    content, usage = answer.get("content", ""), usage_of(answer.get("token_usage"))
    reason = incomplete_reason(finish_reason(answer))
    if reason is None:
        return response.members("completed", content=content, usage=usage, completed=completed)
    return response.members("incomplete", content=content, usage=usage, reason=reason)


def stopped(response: Response, content: str | None) -> dict[str, Any]:
    """The object of a response that was stopped.

    :param content: what there is of the answer.
    """
    return response.members("incomplete", content=content, reason=STOPPED)


def failed(response: Response, content: str | None, status: int, text: str) -> dict[str, Any]:
    """The object of a response that failed.

    :param content: what there is of the answer.
    :param status: that of HTTP for the error.
    """
    code = "rate_limit_exceeded" if status == 429 else "server_error"
    return response.members("failed", content=content, error={"code": code, "message": text})


def part(text: str) -> dict[str, Any]:
    """The one part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _stored_members(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Members of a request as its response tells them: with the members OpenAI adds to them."""
    told = dict(asked)
    if "metadata" in told:
        told["metadata"] = {name: value for name, value in told["metadata"].items() if value is not None}
    if "tools" in told:
        told["tools"] = [
            {**_OF_TOOL, **tool} if tool.get("type") == "function" else tool for tool in told["tools"]
        ]
    if "text" in told:
        told["text"] = _text_members(told["text"])
    if "reasoning" in told:
        told["reasoning"] = {**_DEFAULTS["reasoning"], **told["reasoning"]}
    if told.get("service_tier") == "auto":
        told["service_tier"] = "default"
    return told


def _text_members(asked: Mapping[str, Any]) -> dict[str, Any]:
    form = asked.get("format") or _DEFAULTS["text"]["format"]
    if form.get("type") == "json_schema":
        form = {**form, "description": form.get("description"), "strict": bool(form.get("strict"))}
    told = {name: value for name, value in asked.items() if value is not None}
    return {**told, "format": form}
