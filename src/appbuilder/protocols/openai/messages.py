"""The messages a client sends: which one is asked now, and what was said before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from appbuilder.core.message import text_of
from appbuilder.errors import InvalidRequest
from appbuilder.protocols.openai.fields import invalid_field

TOOL_ROLES = ("tool", "function")
ROLES = ("system", "developer", "user", "assistant", *TOOL_ROLES)
_INSTRUCTING = ("system", "developer")
TEXT_TYPES = ("text", "input_text", "output_text")
"""Types of the parts of a content that are text, in both APIs."""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message as it is compared with others: who said it (``user`` or ``assistant``), and its text."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a request asks.

    :param message: the last user message's content: text, or the list of its parts where not all are text.
        Without one, the text of the results of tools.
    :param messages: everything the client sent, each with ``role`` and ``content``.
    :param system: what system and developer messages say, joined by blank lines.
    :param before: what user and assistant said before that message.
    :param asked: the text of that message; empty where there is no user message.
    :param continued: what the assistant said after that message, which is to go on; empty where nothing is.
    """

    message: Any
    messages: Sequence[Mapping[str, Any]]
    system: str
    before: Sequence[ChatMessage]
    asked: str
    continued: str = ""


def read_messages(value: Any, name: str = "messages") -> Conversation:
    """Reads the ``messages`` of a chat completion.

    :raises InvalidRequest: they are not what OpenAI's are, or none is the user's; ``param`` says which.
    """
    if not isinstance(value, list) or not value:
        raise invalid_field(name, "an array of at least one message")
    return talk([_message(each, f"{name}[{at}]") for at, each in enumerate(value)], name)


def talk(messages: Sequence[Mapping[str, Any]], name: str) -> Conversation:
    """What *messages*, which are in order, ask.

    :raises InvalidRequest: none of them is the user's or the result of a tool.
    """
    system = "\n\n".join(text_in(each["content"]) for each in messages if each["role"] in _INSTRUCTING)
    asked = next((at for at in reversed(range(len(messages))) if messages[at]["role"] == "user"), None)
    if asked is None:
        results = [text_in(each["content"]) for each in messages if each["role"] in TOOL_ROLES]
        if not results:
            raise InvalidRequest("There is no message of the role 'user'.", param=name)
        return Conversation("\n".join(results), messages, system, before=_said(messages), asked="")
    content = messages[asked]["content"]
    return Conversation(
        message=text_in(content) if _all_text(content) else content,
        messages=messages,
        system=system,
        before=_said(messages[:asked]),
        asked=text_in(content),
        continued="\n".join(filter(None, (each.text for each in _said(messages[asked + 1 :])))),
    )


def _said(messages: Sequence[Mapping[str, Any]]) -> list[ChatMessage]:
    return [
        ChatMessage(each["role"], text_in(each["content"]))
        for each in messages
        if each["role"] in ("user", "assistant")
    ]


def check_content(content: Any, name: str) -> None:
    """:raises InvalidRequest: *content* is neither a string nor a list of parts."""
    if isinstance(content, str):
        return
    if not isinstance(content, list) or not content:
        raise invalid_field(name, "a string, or an array of at least one part")
    for at, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise invalid_field(f"{name}[{at}]", "an object with a type")
        if part["type"] in TEXT_TYPES and not isinstance(part.get("text"), str):
            raise invalid_field(f"{name}[{at}].text", "a string")


def text_in(content: Any) -> str:
    """The text of a content; that of several parts on lines of their own, and of what is no text nothing."""
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if part["type"] in TEXT_TYPES)
    return content or ""


def plain_text(content: Any) -> str:
    """The text of a content as it was stored, whatever it is."""
    if isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content):
        texts = (part.get("text") for part in content if part["type"] in TEXT_TYPES)
        return "\n".join(text for text in texts if isinstance(text, str))
    return text_of(content)


def _all_text(content: Any) -> bool:
    return not isinstance(content, list) or all(part["type"] in TEXT_TYPES for part in content)


def _message(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise invalid_field(name, "an object")
    role = value.get("role")
    if role not in ROLES:
        raise invalid_field(f"{name}.role", f"one of {', '.join(ROLES)}")
    content = value.get("content")
    if content is not None or role == "user":  # an assistant that calls a tool says nothing
        check_content(content, f"{name}.content")
    return {**value, "content": content}
