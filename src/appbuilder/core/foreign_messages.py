"""Messages and content parts of other libraries, by their members: text, calls of tools, tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from appbuilder.errors import AnswerError


@dataclass(slots=True)
class ForeignMessage:
    """What a foreign value says: its text, what the model used, why it ended, the tools it calls.

    ``adds``: ``usage`` is to be added to what came before, instead of replacing it.
    """

    text: str = ""
    usage: Mapping[str, int] | None = None
    finish_reason: str | None = None
    tools: tuple[str, ...] = ()
    adds: bool = False


_TEXT_PARTS = ("text", "output_text", "input_text")
_TOOL_PARTS = ("tool_use", "tool_call", "tool_call_chunk", "function_call")
_MEDIA_PARTS = ("image", "image_url", "input_image", "audio", "input_audio", "video", "file", "input_file")
# A dict with other members is a JSON answer of the program's own.
PART_MEMBERS = frozenset(
    ("type", "text", "id", "index", "annotations", "logprobs", "extras", "cache_control", "citations", "meta")
)
MESSAGE_MEMBERS = frozenset(
    ("role", "content", "refusal", "tool_calls", "function_call", "audio", "annotations", "name", "id",
     "type", "status", "reasoning_content", "reasoning", "metadata", "options", "meta",
     "additional_kwargs", "blocks", "phase", "model", "stop_reason", "stop_sequence", "usage",
     "stop_details", "container", "diagnostics")
)  # fmt: skip

PLAIN = (str, bytes, bytearray, memoryview, int, float, type(None), type)


_ABSENT = object()


def get(value: Any, name: str, otherwise: Any = None) -> Any:
    """The member of a dict, or the attribute of an object."""
    if isinstance(value, Mapping):
        return value.get(name, otherwise)
    try:
        return getattr(value, name, otherwise)
    except Exception:  # noqa: BLE001 - a property that fails says nothing of the value's shape
        return otherwise


def has(value: Any, *names: str) -> bool:
    """Whether a value has all of these members."""
    return all(get(value, name, _ABSENT) is not _ABSENT for name in names)


def only_has(value: Any, known: frozenset[str]) -> bool:
    """Whether a dict, or a model or dataclass of the program's own, has none but these members."""
    if isinstance(value, Mapping):
        return known.issuperset(value)
    fields = getattr(type(value), "model_fields", getattr(type(value), "__dataclass_fields__", ()))
    return _is_library(value) or known.issuperset(fields)


_LIBRARIES = ("openai", "anthropic", "langchain_core", "llama_index", "mcp")


def _is_library(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] in _LIBRARIES


def word_of(value: Any) -> str:
    """A text, or the text that is a member of an enumeration."""
    value = getattr(value, "value", value)
    return value if isinstance(value, str) else ""


def body_of(value: Any) -> ForeignMessage | None:
    """A message or a delta: content, which is a text or parts, a refusal, calls of tools."""
    content = get(value, "content")
    if isinstance(content, (list, tuple)):
        found = parts_of(content, strict=False)
    elif content is None or isinstance(content, str):
        found = ForeignMessage(content or "")
    else:
        found = None
    if found is None:
        return None
    refusal = get(value, "refusal")
    if isinstance(refusal, str):
        found.text += refusal
    calls = [*calls_in(value, "tool_calls"), *calls_in(value, "tool_call_chunks")]
    call = get(value, "function_call")
    found.tools += tuple(tool_name(each) for each in (*calls, *([call] if call else ())))
    return found


def calls_in(value: Any, name: str) -> list[Any]:
    """The list of calls that is the member *name*."""
    calls = get(value, name)
    return list(calls) if isinstance(calls, (list, tuple)) else []


def tool_name(call: Any) -> str:
    """The name of the tool that a call is for; empty in all chunks of a call but the first."""
    named = (get(call, "name"), get(get(call, "function"), "name"), get(call, "tool_name"))
    return next(filter(None, map(word_of, named)), "")


def reason_of(reason: Any) -> str | None:
    """Why an answer ended, in the words of chat completions; None: it was done, or calls tools."""
    word = word_of(reason)
    return _REASONS.get(word.lower(), word or None)


_DONE = ("stop", "normal", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "completed",
         "tool_calls", "tool_use", "function_call")  # fmt: skip
_REASONS = {
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "refusal": "content_filter",
    **dict.fromkeys(_DONE),
}


def usage_of(usage: Any) -> dict[str, int] | None:
    """Tokens, whichever names they have."""
    if usage is None:
        return None
    read = _count(usage, "prompt_tokens", "input_tokens")
    written = _count(usage, "completion_tokens", "output_tokens")
    if read is None and written is None:
        return None
    total = _count(usage, "total_tokens")
    counted = (read or 0) + (written or 0)
    return {
        "prompt_tokens": read or 0,
        "completion_tokens": written or 0,
        "total_tokens": counted if total is None else total,
    }


def _count(usage: Any, *names: str) -> int | None:
    found = (get(usage, name) for name in names)
    return next((each for each in found if isinstance(each, int)), None)


def part_of(value: Any) -> ForeignMessage | None:
    """One part of a content, where it is text."""
    kind, text = word_of(get(value, "type")), get(value, "text")
    if kind == "refusal" and isinstance(get(value, "refusal"), str):
        return ForeignMessage(get(value, "refusal"))
    if kind not in _TEXT_PARTS or not isinstance(text, str) or not only_has(value, PART_MEMBERS):
        return None
    return ForeignMessage(text)


def parts_of(parts: Sequence[Any], *, strict: bool) -> ForeignMessage | None:
    """:param strict: all must be text; otherwise it is a message's content, of which reasoning is left out.

    :returns: None if one of them is something else.
    """
    whole = ForeignMessage()
    for part in parts:
        found = ForeignMessage(part) if isinstance(part, str) else part_of(part)
        kind = word_of(get(part, "type"))
        if found is not None:
            whole.text += found.text
        elif strict:
            return None
        elif not isinstance(get(part, "text"), (str, type(None))):
            return None  # a typed output
        elif kind in _TOOL_PARTS:
            whole.tools += (tool_name(part),)
        elif kind in _MEDIA_PARTS:
            raise AnswerError(f"The answer holds a part of type {kind!r}: return its text and a link.")
        elif not kind:
            text = get(part, "text")
            if not isinstance(text, str):
                return None
            whole.text += text
    return whole
