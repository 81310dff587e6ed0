"""What Open WebUI sends an OpenAI-compatible server, besides what every client does.

Its headers come only where it runs with ENABLE_FORWARD_USER_INFO_HEADERS=true; of a request's ``metadata``
it sends nothing. The requests it makes for itself (titles, tags, follow-up questions, search queries...) look
like any other: the chat's id stands in their headers too, and only the prompt tells them apart, unless the
connection is set up to send the header {{TASK}} is meant for. Read in backend/open_webui of releases 0.6 to
0.12: routers/openai.py, routers/tasks.py, utils/{headers,chat_id,middleware,context_compaction,memory}.py and
the prompt templates in config.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from appbuilder.ids import derived_id
from appbuilder.protocols.chat import MAX_ID, MAX_USER_ID, Header, is_fit_id
from appbuilder.protocols.openai.messages import text_in

CHAT_ID = "X-OpenWebUI-Chat-Id"
USER_ID = "X-OpenWebUI-User-Id"
USER_EMAIL = "X-OpenWebUI-User-Email"
USER_NAME = "X-OpenWebUI-User-Name"
TASK = "X-OpenWebUI-Task"
"""Not Open WebUI's own: the name our docs give to the connection's header with the value {{TASK}}."""

_NOT_SAVED = ":"
"""Stands in the id of a chat that Open WebUI does not keep (``local:``, ``temporary:``, ``channel:``). It
names the browser's connection, or a channel, so that several conversations share it."""


@dataclass(frozen=True, slots=True)
class User:
    """One of Open WebUI's users. ``label`` is the e-mail address, the name or the id, the first there is."""

    id: str
    label: str


def session_of(header: Header) -> str | None:
    """The session that is this chat; None: the request names no chat, or a temporary one."""
    chat_id = _header_text(header, CHAT_ID)
    if not chat_id or _NOT_SAVED in chat_id:
        return None
    return chat_id if is_fit_id(chat_id, MAX_ID) else derived_id("open webui", chat_id)


def user_of(header: Header) -> User | None:
    """The user a request is made for. Whoever can send headers can say anything here."""
    user_id = _header_text(header, USER_ID)
    if not is_fit_id(user_id, MAX_USER_ID):
        return None
    labels = (_header_text(header, USER_EMAIL), unquote(_header_text(header, USER_NAME)), user_id)
    return User(user_id, next(label for label in labels if is_fit_id(label, MAX_USER_ID)))


def _header_text(header: Header, name: str) -> str:
    """A header's value as UTF-8, or as it is if it is not; empty where it is missing."""
    value = header(name.lower()) or ""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def is_task(header: Header, messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether Open WebUI asks for itself and not for its user."""
    return bool(header(TASK.lower())) or _is_task_prompt(messages)


_TASK_PROMPT = "### Task:"
_OF_TASKS = ("<chat_history>", "### Messages Being Compacted:")
"""Stand in the templates of tasks. That of retrieval begins like one, but holds a user's question."""
_OTHER_PROMPTS = (
    "Your task is to reflect the speaker's likely facial expression through a fitting emoji.",
    "You have been provided with a set of responses from various models to the latest user query",
    "Review the completed conversation turn and decide whether long-term memory should change.",
)
_TOOL_CHOICE = "Available Tools:"
_TOOL_QUERY = "Query: "


def _is_task_prompt(messages: Sequence[Mapping[str, Any]]) -> bool:
    said = [each for each in messages if each["role"] not in ("system", "developer")]
    if len(said) != 1 or said[0]["role"] != "user":
        return False
    prompt = text_in(said[0]["content"]).lstrip()
    if prompt.startswith(_TASK_PROMPT):
        return any(mark in prompt for mark in _OF_TASKS)
    if prompt.startswith(_TOOL_QUERY):
        return any(
            text_in(each["content"]).lstrip().startswith(_TOOL_CHOICE)
            for each in messages
            if each["role"] == "system"
        )
    return prompt.startswith(_OTHER_PROMPTS)
