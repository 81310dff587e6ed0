"""The bodies of requests to an application, pure: members and their order are the AppBuilder SDK's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from appbuilder.components.app_client.schemas import (
    Action,
    CustomMetadata,
    Function,
    Tool,
    ToolChoice,
    ToolOutput,
    checked,
)
from appbuilder.errors import InvalidRequest


def run_body(
    app_id: str,
    conversation_id: str,
    query: str,
    *,
    stream: bool,
    file_ids: Sequence[str] | None = (),
    tools: Sequence[Any] | None = None,
    tool_outputs: Sequence[Any] | None = None,
    tool_choice: Any = None,
    end_user_id: str | None = None,
    action: Any = None,
    mcp_authorization: Sequence[Mapping[str, Any]] | None = None,
    parameters: Mapping[str, Any] | None = None,
    custom_metadata: Any = None,
) -> dict[str, Any]:
    """The body of a run; see :meth:`appbuilder.components.app_client.client.AppBuilderClient.run`.

    :raises InvalidRequest: there is neither a query nor a tool's output, or an argument has a wrong form.
    """
    require_conversation(conversation_id)
    if not isinstance(query, str):
        raise InvalidRequest("query must be a text.")
    if not query and not tool_outputs:
        raise InvalidRequest("A run needs a query, or the outputs of tools.")
    outputs = _listed(tool_outputs, "tool_outputs")
    return {
        "query": query,
        "stream": bool(stream),
        "conversation_id": conversation_id,
        "file_ids": _listed(file_ids, "file_ids"),
        "app_id": app_id,
        "tools": [_tool(tool) for tool in _listed(tools, "tools") or ()],
        "tool_outputs": outputs and [_plain(ToolOutput, one, "tool_outputs") for one in outputs],
        "tool_choice": _plain(ToolChoice, tool_choice, "tool_choice"),
        "end_user_id": end_user_id,
        "action": _plain(Action, action, "action"),
        "mcp_authorization": _listed(mcp_authorization, "mcp_authorization"),
        "parameters": _named(parameters, "parameters"),
        "custom_metadata": _plain(CustomMetadata, custom_metadata, "custom_metadata"),
    }


def feedback_body(  # noqa: PLR0917 - the order of the wire
    app_id: str,
    conversation_id: str,
    message_id: str,
    kind: str,
    flag: Sequence[str] | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    """The body of a feedback; what is None is left out.

    :raises InvalidRequest: there is no conversation.
    """
    require_conversation(conversation_id)
    members = {
        "app_id": app_id,
        "conversation_id": conversation_id,
        "message_id": message_id,
        "type": kind,
        "flag": _listed(flag, "flag"),
        "reason": reason,
    }
    return {name: value for name, value in members.items() if value is not None}


def require_conversation(conversation_id: str) -> None:
    """:raises InvalidRequest: *conversation_id* is not the id of a conversation."""
    if not isinstance(conversation_id, str) or not conversation_id:
        raise InvalidRequest("conversation_id is empty; create_conversation() makes one.")


def users_words(body: Mapping[str, Any]) -> list[str]:
    """The texts in *body* that are the users' or the program's own, which must not reach the log."""
    names = ("query", "tool_outputs", "parameters", "custom_metadata", "tool_choice", "reason", "flag")
    return [text for name in names for text in _texts(body.get(name))]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _listed(value: Any, name: str) -> list[Any] | None:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, (Iterable, type(None))):
        raise InvalidRequest(f"{name} must be a list.")
    return None if value is None else list(value)


def _named(value: Any, name: str) -> dict[str, Any] | None:
    if not isinstance(value, (Mapping, type(None))):
        raise InvalidRequest(f"{name} must be a dict.")
    return None if value is None else dict(value)


def _plain(kind: type[BaseModel], value: Any, name: str) -> dict[str, Any] | None:
    return None if value is None else checked(kind, value, name).model_dump()


def _tool(tool: Any) -> dict[str, Any]:
    if isinstance(tool, Mapping) and "function" not in tool and tool.get("type"):
        return dict(tool)  # a tool of the service's own: code_interpreter, file_retrieval
    if hasattr(tool, "inputSchema"):
        function = {"name": tool.name, "description": tool.description or "", "parameters": tool.inputSchema}
        tool = Tool(function=checked(Function, function, "tools"))
    return checked(Tool, tool, "tools").model_dump()
