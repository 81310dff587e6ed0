"""What a request for a response asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from appbuilder import jsontext
from appbuilder.errors import InvalidRequest
from appbuilder.protocols.chat import checked_id
from appbuilder.protocols.openai import fields, parameters
from appbuilder.protocols.openai.messages import Conversation, check_content, talk
from appbuilder.protocols.openai.response_objects import ECHOED, turn_of

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
REFERENCE = "item_reference"
_MEMBERS_OF_CALLS = {"function_call": ("function", "arguments"), "custom_tool_call": ("custom", "input")}
"""Items that are calls of tools: their type in a chat's message, and the member with what they pass."""
_OUTPUT = "_output"
"""Ends the types of items that are results of tools."""


@dataclass(frozen=True, slots=True)
class ResponseCall:
    """A request.

    :param args: keyword arguments for the component's ``run``.
    :param session_id: the session the body names, as ``conversation`` or as our own members.
    :param previous: id of the turn whose conversation goes on; None: none is named.
    :param references: ids of the items the input refers to, in their order; their texts are not in *talk*
        until :func:`resolved` puts them there.
    :param store: False: nothing of the turn is to be kept.
    :param asked: members of the request that its response repeats.
    """

    talk: Conversation
    args: Mapping[str, Any]
    stream: bool
    session_id: str | None
    previous: str | None
    references: Sequence[str]
    store: bool
    asked: Mapping[str, Any]


def read(body: Mapping[str, Any], *, model: str, takes: frozenset[str]) -> ResponseCall:
    """Reads a request.

    :param model: the service's only one.
    :param takes: names of the arguments the component's ``run`` takes.
    :raises InvalidRequest: a member is missing, or has a wrong type or value; ``param`` says which.
    :raises NotFound: the request is for another model, or goes on from a response that cannot be.
    """
    fields.check_model(body, model)
    parameters.check(parameters.RESPONSE, body)
    asked = _read_input(body.get("input"))
    instructions = body.get("instructions")
    if body.get("background"):
        raise fields.invalid_field("background", "false: responses are answered while the caller waits")
    system = "\n\n".join(filter(None, (instructions, asked.system)))
    members = {name: value for name, value in body.items() if name not in _OURS}
    return ResponseCall(
        talk=asked,
        args=fields.extra_arguments(
            members,
            takes,
            messages=_with_instructions(instructions, asked.messages),
            system=system,
            instructions=instructions,
        ),
        stream=bool(body.get("stream")),
        session_id=_session_of(body),
        previous=_previous(body),
        references=[each[REFERENCE] for each in asked.messages if REFERENCE in each],
        store=body.get("store") is not False,
        asked={name: body[name] for name in ECHOED if body.get(name) is not None},
    )


def resolved(call: ResponseCall, texts: Mapping[str, str]) -> ResponseCall:
    """*call* with what the items say that it refers to.

    :param texts: by their ids; those of others are empty.
    """
    messages = [
        {"role": "assistant", "content": texts.get(each[REFERENCE], "")} if REFERENCE in each else each
        for each in call.talk.messages
    ]
    args = dict(call.args)
    if "messages" in args:
        args["messages"] = _with_instructions(call.asked.get("instructions"), messages)
    return replace(call, talk=talk(messages, "input"), args=args)


def _with_instructions(
    instructions: str | None, messages: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    return [*([{"role": "system", "content": instructions}] if instructions else ()), *messages]


def _read_input(value: Any) -> Conversation:
    if isinstance(value, str):
        return talk([{"role": "user", "content": value}], "input")
    if not isinstance(value, list) or not value:
        raise fields.invalid_field("input", "a string, or an array of at least one item")
    items = (_item(each, f"input[{at}]") for at, each in enumerate(value))
    return talk(_calls_together(each for each in items if each is not None), "input")


def _item(value: Any, name: str) -> Mapping[str, Any] | None:
    """A message for an item of the input; None: of another kind, for which chats have no message."""
    if not isinstance(value, dict):
        raise fields.invalid_field(name, "an object")
    kind = value.get("type")
    if kind is None:
        kind = "message" if "role" in value or "id" not in value else REFERENCE
    if not isinstance(kind, str):
        raise fields.invalid_field(f"{name}.type", "a string")
    if kind == REFERENCE:
        return {"role": "assistant", "content": "", REFERENCE: _text(value, "id", name)}
    if kind in _MEMBERS_OF_CALLS:
        return _call(value, kind, name)
    if kind.endswith(_OUTPUT) and "call_id" in value:
        return _result(value, name)
    if kind != "message":
        return None
    if value.get("role") not in ROLES:
        raise fields.invalid_field(f"{name}.role", f"one of {', '.join(ROLES)}")
    check_content(value.get("content"), f"{name}.content")
    return {"role": value["role"], "content": value["content"]}


def _call(value: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    """A call of a tool, as chats have it."""
    named, given = _MEMBERS_OF_CALLS[kind]
    what = {"name": _text(value, "name", name), given: _text(value, given, name)}
    call = {"id": _text(value, "call_id", name), "type": named, named: what}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _result(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What a tool gave back, as chats have it."""
    output = value.get("output")
    if isinstance(output, list) and output:
        check_content(output, f"{name}.output")
    elif output is None or isinstance(output, (dict, list)):
        output = "" if output is None else jsontext.dumps(output).decode()
    elif not isinstance(output, str):
        raise fields.invalid_field(f"{name}.output", "a string, or an array of parts")
    return {"role": "tool", "tool_call_id": _text(value, "call_id", name), "content": output}


def _calls_together(messages: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """*messages*, where calls that follow each other are one message, as chats want it."""
    found: list[Mapping[str, Any]] = []
    for each in messages:
        if "tool_calls" in each and found and "tool_calls" in found[-1]:
            found[-1]["tool_calls"].extend(each["tool_calls"])
        else:
            found.append(each)
    return found


def _text(value: Mapping[str, Any], member: str, name: str) -> str:
    found = value.get(member)
    if not isinstance(found, str):
        raise fields.invalid_field(f"{name}.{member}", "a string")
    return found


def _session_of(body: Mapping[str, Any]) -> str | None:
    named = body.get("conversation")
    if isinstance(named, dict):
        named = named.get("id", "")
    if named is None:
        return fields.session_of(body)
    if body.get("previous_response_id") is not None:
        raise InvalidRequest(
            "Name the conversation or the previous response, not both.", param="previous_response_id"
        )
    return checked_id(named, "conversation")


def _previous(body: Mapping[str, Any]) -> str | None:
    named = body.get("previous_response_id")
    return None if named is None else turn_of(named, "previous_response_id")
