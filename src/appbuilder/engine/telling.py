"""What is told of a turn at its end: numbers, its span, and, where that is asked for, what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appbuilder import logs, telemetry
from appbuilder.core.events import answer_text
from appbuilder.core.message import text_of
from appbuilder.engine import spans
from appbuilder.engine.machine import Phase

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from appbuilder.engine.log import Outcome
    from appbuilder.engine.turn import Turn


def ended(turn: Turn, outcome: Outcome, span: Span | None, *, model_calls: int) -> None:
    """Tells of *turn*, which has ended so.

    :param model_calls: how many calls of models were told already, with their tokens.
    """
    request, sink, pieces = turn.request, telemetry.sink(), turn.log.count
    usage = outcome.answer.get("token_usage") if outcome.answer is not None else None
    if usage and not model_calls:
        sink.tokens(usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)
    error = None if outcome.error is None else telemetry.kind_of(outcome.error)
    if error is not None:
        sink.error(error)
    sink.turn_ended(request.door, _how(turn), pieces)
    if span is not None:
        spans.end(span, request, error, outcome.answer, pieces=pieces)
    if logs.texts_wanted():
        logs.tell_texts(text_of(request.message), _said(turn, outcome), turn.ids)


def _how(turn: Turn) -> str:
    if turn.state.phase is Phase.DONE:
        return telemetry.DONE
    if turn.state.phase is Phase.CANCELLED:
        return telemetry.INCOMPLETE
    return telemetry.FAILED if turn.state.attempt else telemetry.REFUSED


def _said(turn: Turn, outcome: Outcome) -> str:
    if outcome.answer is not None:
        return text_of(outcome.answer.get("content"))
    return answer_text(turn.log.entries)
