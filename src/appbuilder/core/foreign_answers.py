"""What other libraries give as an answer or as a piece of one, read by its shape.

Chunks and completions of the ``openai`` package (chat, legacy, Responses) and of libraries that copy them,
messages, results and events of LangChain and LangGraph, messages and events of Anthropic, messages of
LlamaIndex and Haystack, and content parts, as objects or as the dicts they are written as. No library is
imported: members decide, and names of classes where members do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from appbuilder.core.foreign_messages import (
    MESSAGE_MEMBERS,
    PLAIN,
    ForeignMessage,
    body_of,
    calls_in,
    get,
    has,
    only_has,
    part_of,
    parts_of,
    reason_of,
    tool_name,
    usage_of,
    word_of,
)
from appbuilder.errors import AnswerError, ModelUnavailable

_COMPLETIONS = ("chat.completion", "chat.completion.chunk", "text_completion")
_COMPLETION_CLASSES = ("ChatCompletion", "ChatCompletionChunk", "Completion", "ModelResponseStream")
_ROLES = ("assistant", "user", "system", "developer", "tool", "model", "ai", "human")
_LANGCHAIN = ("ai", "human", "system", "tool", "chat", "function")


_TELLING = frozenset(
    ("choices", "object", "type", "content", "role", "lc", "generations", "generation_info", "messages",
     "event", "response", "raw", "finish_reason")
)  # fmt: skip
"""Every dict of a foreign shape has one of these members, or is what the nodes of a graph say."""


def read_answer(value: Any) -> ForeignMessage | None:
    """What *value* says; None: it is of no foreign shape, and stands for itself.

    :raises AnswerError: it holds a part that is no text, an image for instance.
    :raises ModelUnavailable: it is the event of a response that failed.
    """
    if isinstance(value, tuple):
        return _of_graph(value)
    if isinstance(value, list):
        return _of_list(value)
    if not isinstance(value, Mapping) and (isinstance(value, PLAIN) or not hasattr(value, "__dict__")):
        return None
    if type(value) is dict and _TELLING.isdisjoint(value):
        return _state(value)  # most JSON answers are spared the rest
    for shape in _SHAPES:
        found = shape(value)
        if found is not None:
            return found
    return None


def unwrapped(value: Any) -> Any:
    """The output in the result of a run of Pydantic AI or the Agents SDK; other values as they are."""
    if callable(get(value, "all_messages")) and hasattr(value, "output"):
        return value.output
    return value.final_output if hasattr(value, "final_output") and hasattr(value, "new_items") else value


def unhandled(tools: Sequence[str]) -> AnswerError:
    """The error of an answer that ends with calls of tools."""
    named = ", ".join(sorted(set(filter(None, tools)))) or "a tool"
    return AnswerError(
        f"The answer ends with calls of tools ({named}) that the function did not run: run them and return "
        "the text of the model's next answer."
    )


# Completions


def _completion(value: Any) -> ForeignMessage | None:
    choices = get(value, "choices")
    if not isinstance(choices, (list, tuple)):
        return None
    known = word_of(get(value, "object")) in _COMPLETIONS or type(value).__name__ in _COMPLETION_CLASSES
    read = [_choice(each) for each in choices]
    if not known and (not choices or None in read):
        return None
    # Further choices are other answers to the same question.
    first = next(
        (each for choice, each in zip(choices, read, strict=True) if each and not get(choice, "index")), None
    )
    whole = first or ForeignMessage()
    whole.usage = usage_of(get(value, "usage"))
    return whole


def _choice(value: Any) -> ForeignMessage | None:
    body = get(value, "delta")
    body = get(value, "message") if body is None else body
    if body is not None:
        found = body_of(body)
    elif isinstance(get(value, "text"), str) and has(value, "finish_reason"):
        found = ForeignMessage(get(value, "text"))
    else:
        return ForeignMessage() if has(value, "finish_reason", "index") else None
    if found is not None:
        found.finish_reason = reason_of(get(value, "finish_reason"))
    return found


def _choice_alone(value: Any) -> ForeignMessage | None:
    known = has(value, "finish_reason", "index") and (has(value, "delta") or has(value, "message"))
    return _choice(value) if known else None


def _chat_event(value: Any) -> ForeignMessage | None:
    """An event of ``chat.completions.stream()``: the chunk, and nothing of what is made of it."""
    kind = word_of(get(value, "type"))
    if kind == "chunk" and has(value, "chunk", "snapshot"):
        return _completion(get(value, "chunk"))
    return ForeignMessage() if kind in _CHAT_EVENTS else None


_CHAT_EVENTS = frozenset(
    f"{made}.{when}" for when in ("delta", "done") for made in
    ("content", "refusal", "logprobs.content", "logprobs.refusal", "tool_calls.function.arguments")
)


# Responses


def _response_event(value: Any) -> ForeignMessage | None:
    kind = word_of(get(value, "type"))
    if kind == "response.failed" or (kind == "error" and has(value, "sequence_number")):
        raise ModelUnavailable("The model's response failed.")
    if not kind.startswith("response."):
        return None
    if kind in ("response.output_text.delta", "response.refusal.delta"):
        return ForeignMessage(str(get(value, "delta") or ""))
    ended = kind in ("response.completed", "response.incomplete")
    end = _response(get(value, "response")) if ended else None
    return ForeignMessage() if end is None else ForeignMessage("", end.usage, end.finish_reason, end.tools)


def _response(value: Any) -> ForeignMessage | None:
    output = get(value, "output")
    if word_of(get(value, "object")) != "response" or not isinstance(output, list):
        return None
    if word_of(get(value, "status")) == "failed":
        raise ModelUnavailable("The model's response failed.")
    whole = ForeignMessage(usage=usage_of(get(value, "usage")))
    for item in output:
        if word_of(get(item, "type")) == "message":
            found = body_of(item)
            whole.text += found.text if found is not None else ""
        elif word_of(get(item, "type")) in ("function_call", "custom_tool_call"):
            whole.tools += (tool_name(item),)
    reason = word_of(get(get(value, "incomplete_details"), "reason"))
    whole.finish_reason = reason_of(reason)
    return whole


# Events of other makers


def _anthropic_event(value: Any) -> ForeignMessage | None:
    kind = word_of(get(value, "type"))
    if kind == "text" and has(value, "snapshot"):
        return ForeignMessage()  # the same text as that of the event before it
    if kind not in _ANTHROPIC_EVENTS or (kind == "message_start" and not has(value, "message")):
        return None
    block, delta = get(value, "content_block"), get(value, "delta")
    if kind == "content_block_start" and word_of(get(block, "type")) == "tool_use":
        return ForeignMessage(tools=(tool_name(block),))
    text = get(delta, "text") if word_of(get(delta, "type")) == "text_delta" else None
    usage, known = usage_of(get(value, "usage")), get(get(value, "usage"), "input_tokens")
    if kind == "message_start":
        read = get(get(get(value, "message"), "usage"), "input_tokens")
        usage = usage_of({"input_tokens": read})
    reason = reason_of(get(delta, "stop_reason"))
    return ForeignMessage(text if isinstance(text, str) else "", usage, reason, adds=known is None)


_ANTHROPIC_EVENTS = (
    "message_start", "message_delta", "message_stop",
    "content_block_start", "content_block_delta", "content_block_stop",
)  # fmt: skip


def _agents_event(value: Any) -> ForeignMessage | None:
    """An event of the Agents SDK, which runs the tools itself."""
    kind = word_of(get(value, "type"))
    if kind == "raw_response_event":
        found = _response_event(get(value, "data")) or ForeignMessage()
        return ForeignMessage(found.text, found.usage, found.finish_reason)
    ours = kind in ("run_item_stream_event", "agent_updated_stream_event") and not isinstance(value, Mapping)
    return ForeignMessage() if ours else None


# LangChain


def _langchain(value: Any) -> ForeignMessage | None:
    if has(value, "lc", "kwargs") and isinstance(get(value, "kwargs"), Mapping):
        value = {"response_metadata": {}, "additional_kwargs": {}, **value["kwargs"]}
    elif has(value, "type", "data") and word_of(get(value, "type")) in _LANGCHAIN:
        value = get(value, "data")
    if not has(value, "content", "additional_kwargs", "response_metadata"):
        return None
    found = body_of(value)
    if found is None:
        return None
    told = get(value, "response_metadata") or {}
    usage = usage_of(get(value, "usage_metadata"))
    found.adds = usage is not None and "Chunk" in word_of(get(value, "type"))
    found.usage = usage or usage_of(get(told, "token_usage"))
    found.finish_reason = reason_of(get(told, "finish_reason") or get(told, "stop_reason"))
    return found


def _generations(value: Any) -> ForeignMessage | None:
    """``LLMResult`` and ``ChatResult``: the first of the generations."""
    generations = get(value, "generations")
    if not isinstance(generations, list) or not has(value, "llm_output"):
        return None
    first: Any = generations
    while isinstance(first, list):
        first = first[0] if first else None
    found = None if first is None else _generation(first)
    if found is not None:
        found.usage = found.usage or usage_of(get(get(value, "llm_output"), "token_usage"))
    return found


def _generation(value: Any) -> ForeignMessage | None:
    if not has(value, "generation_info") or not isinstance(get(value, "text"), str):
        return None
    message = get(value, "message")
    return (None if message is None else _langchain(message)) or ForeignMessage(get(value, "text"))


def _state(value: Any) -> ForeignMessage | None:
    """A graph's state, or what its nodes add to it: the answer is the last message, where it is a model's."""
    if not isinstance(value, dict) or not value:
        return None
    if "messages" not in value:
        nodes = list(value.values())
        last = nodes[-1] if all(isinstance(each, dict) and "messages" in each for each in nodes) else None
        found = None if last is None else _state(last)
        return None if found is None else ForeignMessage(found.text, found.usage, found.finish_reason)
    messages = value["messages"]
    last = messages[-1] if isinstance(messages, list) and messages else None
    found = None if last is None or isinstance(last, Mapping) else _langchain(last)
    return found if found is None or _is_models(last) else ForeignMessage()


def _is_models(message: Any) -> bool:
    return word_of(get(message, "type")).lower().startswith("ai")


def _graph_event(value: Any) -> ForeignMessage | None:
    """An event of ``astream_events``: what a model says in a stream, and nothing of all others."""
    if not isinstance(value, dict) or not {"event", "data", "run_id"} <= value.keys():
        return None
    if not word_of(value["event"]).startswith("on_"):
        return None
    found = _langchain(get(value["data"], "chunk")) if value["event"] == "on_chat_model_stream" else None
    return (
        ForeignMessage()
        if found is None
        else ForeignMessage(found.text, found.usage, found.finish_reason, adds=found.adds)
    )


def _of_graph(value: tuple[Any, ...]) -> ForeignMessage | None:
    """A message with a graph's metadata: only a model's words are the answer, and the graph runs tools."""
    if len(value) != 2 or not isinstance(value[1], Mapping) or isinstance(value[0], (str, list)):
        return None
    found = _langchain(value[0])
    if found is None:
        return None
    found.tools = ()
    if not _is_models(value[0]):
        found.text = ""
    return found


# Messages and parts


def _message(value: Any) -> ForeignMessage | None:
    if not has(value, "role", "content") or not only_has(value, MESSAGE_MEMBERS):
        return None
    if word_of(get(value, "role")) not in _ROLES and not has(value, "tool_calls", "refusal"):
        return None
    found = body_of(value)
    if found is not None:
        found.usage = usage_of(get(value, "usage"))
        found.finish_reason = reason_of(get(value, "stop_reason"))
    return found


def _llama(value: Any) -> ForeignMessage | None:
    """LlamaIndex: in a stream each value holds all that came before, and the new text as ``delta``."""
    if has(value, "response", "source_nodes") and isinstance(get(value, "response"), str):
        return ForeignMessage(get(value, "response"))
    if not has(value, "raw", "delta", "additional_kwargs"):
        return None
    delta, text = get(value, "delta"), get(value, "text")
    if isinstance(delta, str):
        return ForeignMessage(delta)
    return ForeignMessage(text) if isinstance(text, str) else _message(get(value, "message"))


def _haystack(value: Any) -> ForeignMessage | None:
    if has(value, "_role", "_content", "text"):
        return ForeignMessage(
            word_of(get(value, "text")), tools=tuple(map(tool_name, calls_in(value, "tool_calls")))
        )
    if has(value, "content", "component_info", "tool_calls"):
        return ForeignMessage(word_of(get(value, "content")))
    return None


def _of_list(value: list[Any]) -> ForeignMessage | None:
    """Parts that are all text, or the messages of a conversation, of which the last is the answer."""
    if not value or isinstance(value[-1], (list, *PLAIN)):
        return parts_of(value, strict=True) if any(isinstance(each, Mapping) for each in value) else None
    return parts_of(value, strict=True) or _langchain(value[-1]) or _haystack(value[-1])


_SHAPES = (
    _completion,
    _chat_event,
    _response_event,
    _response,
    _anthropic_event,
    _agents_event,
    _graph_event,
    _langchain,
    _generations,
    _generation,
    _state,
    part_of,
    _llama,
    _haystack,
    _message,
    _choice_alone,
)
