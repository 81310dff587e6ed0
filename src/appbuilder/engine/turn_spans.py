"""The span of a turn, and of its commit, where the process traces."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from appbuilder import tracing
from appbuilder.core.message import text_of
from appbuilder.engine.turn_request import TurnRequest

if TYPE_CHECKING:
    from opentelemetry.trace import Span

PROVIDER = "appbuilder"
"""Who invokes the agent. Which provider its model has is in the spans of the model's calls."""


def agent_name(component: Any) -> str:
    """What a component is called: by its ``meta``, or by its class."""
    name = getattr(getattr(component, "meta", None), "name", "")
    return name if name and isinstance(name, str) else type(component).__name__


def begin(request: TurnRequest, agent: str) -> Span | None:
    """The span of a turn: its parent is the caller's current one."""
    if tracing.tracer() is None:
        return None
    attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.agent.name": agent,
        "gen_ai.conversation.id": request.session_id,
        "appbuilder.request.id": request.request_id,
        "appbuilder.run.id": request.run_id,
        "appbuilder.door": request.door,
    }
    return tracing.begin(f"invoke_agent {agent}", "internal", attributes)


def end(
    span: Span, request: TurnRequest, error: str | None, answer: Mapping[str, Any] | None, *, pieces: int
) -> None:
    """Ends the span of a turn.

    :param answer: the answer's JSON members, if there is one.
    """
    attributes: dict[str, Any] = {"appbuilder.pieces": pieces}
    usage = (answer or {}).get("token_usage") or {}
    for ours, theirs in (("prompt_tokens", "input"), ("completion_tokens", "output")):
        if isinstance(usage.get(ours), int):
            attributes[f"gen_ai.usage.{theirs}_tokens"] = usage[ours]
    if tracing.captures_texts():
        attributes["gen_ai.input.messages"] = tracing.messages([("user", text_of(request.message))])
        if answer is not None:
            said = text_of(answer.get("content"))
            attributes["gen_ai.output.messages"] = tracing.messages([("assistant", said)])
    tracing.end(span, error, attributes)


@contextlib.contextmanager
def commit(turn: Span | None) -> Iterator[None]:
    """The span of a turn's commit."""
    span = None if turn is None else tracing.begin("commit", "internal", {}, parent=turn)
    if span is None:
        yield
        return
    try:
        yield
    except BaseException as error:
        tracing.end(span, type(error).__name__)
        raise
    tracing.end(span)
