"""Chat completions, whole or in chunks, read by their shape.

Servers that call themselves OpenAI-compatible differ: content as a list of parts, a whole message where a
delta is due, no ``finish_reason`` before ``[DONE]``, no ``[DONE]`` after it. What has one meaning only is
read; what has another type than it can have is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appbuilder.errors import ModelRejected, ModelUnavailable
from appbuilder.jsontext import NotJson
from appbuilder.models.base import Delta
from appbuilder.models.failures import Failure

_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")
_REASONING = ("reasoning_content", "reasoning", "reasoning_details")
_CALLS = ("tool_calls", "function_call")


def delta_of(chunk: Mapping[str, Any]) -> Delta:
    """What *chunk* (or a whole completion) says.

    :raises ValueError: a member has a type it cannot have.
    :raises Failure: the model asks for a tool, or its server failed on the way.
    """
    text, reasons, calls = "", [], list[Any]()
    for choice in _list(chunk, "choices"):
        if not isinstance(choice, dict):
            raise NotJson("a choice is not an object")
        if choice.get("index") not in (0, None):
            continue  # another answer to the same question
        said = _said(choice)
        text += _text(said.get("content")) or _text(said.get("refusal")) or _text(choice.get("text"))
        calls += [call for name in _CALLS if (call := said.get(name))]
        reason = choice.get("finish_reason")
        if not isinstance(reason, (str, type(None))):
            raise NotJson("a finish_reason is not a text")
        if reason:
            reasons.append(reason)
    if calls or any(reason in _CALLS for reason in reasons):
        raise Failure(_unhandled(calls))
    if "error" in reasons:
        raise Failure(ModelUnavailable("The model server failed while the model answered."))
    return Delta(text, _usage(chunk), response=_response(chunk, reasons) if reasons else {})


def reasons_on(chunk: Mapping[str, Any]) -> bool:
    """Whether *chunk* holds some of what a model thinks before it answers."""
    for choice in _list(chunk, "choices"):
        said = _said(choice)
        content = said.get("content")
        if isinstance(content, list) and any(_is_thought(part) for part in content):
            return True
        for name in _REASONING:
            thought = said.get(name)
            if thought.strip() if isinstance(thought, str) else thought:
                return True
    return False


def _said(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    said = choice.get("delta")
    if said is None:
        said = choice.get("message")
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise NotJson("a delta is not an object")
    return said


def _list(chunk: Mapping[str, Any], name: str) -> list[Any]:
    value = chunk.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise NotJson(f"its {name} are not a list")
    return value


def _text(content: Any) -> str:
    """A content's text: itself, or that of its parts (``{"type": "text", "text": ...}``)."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list) or not all(isinstance(part, (str, dict)) for part in content):
        raise NotJson("a content is neither a text nor a list of parts")
    return "".join(part if isinstance(part, str) else _text_of_part(part) for part in content)


def _text_of_part(part: Mapping[str, Any]) -> str:
    text = None if _is_thought(part) else part.get("text")
    if not isinstance(text, (str, type(None))):
        raise NotJson("a part's text is not a text")
    return text or ""


def _is_thought(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in ("thinking", "reasoning")


def _usage(chunk: Mapping[str, Any]) -> dict[str, int]:
    usage = chunk.get("usage")
    if not isinstance(usage, dict):
        return {}  # no part of the answer
    return {name: usage[name] for name in _USAGE if type(usage.get(name)) is int}


def _response(chunk: Mapping[str, Any], finish_reasons: list[str]) -> dict[str, Any]:
    told = {name: chunk.get(name) for name in ("id", "model")}
    named = {name: value for name, value in told.items() if value and isinstance(value, str)}
    return {**named, "finish_reasons": finish_reasons}


def _unhandled(calls: list[Any]) -> ModelRejected:
    """What a model's calls of tools are: this package's model components take texts alone."""
    first = calls[0] if calls else None
    if isinstance(first, list):
        first = first[0] if first else None
    function = first.get("function", first) if isinstance(first, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    tool = f"the tool {name[:100]!r}" if name and isinstance(name, str) else "a tool"
    return ModelRejected(
        f"The model asked for {tool}, which this component does not handle: it takes texts only.",
        code="tool_calls",
    )
