"""The report of a turn at its end: metrics, its span, and, where that is asked for, the texts in the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from appbuilder import logs, telemetry
from appbuilder.core.events import answer_text
from appbuilder.core.message import text_of
from appbuilder.engine import turn_spans
from appbuilder.engine.log import Outcome, RunLog
from appbuilder.engine.machine import Phase, TurnState
from appbuilder.engine.turn_request import TurnRequest

if TYPE_CHECKING:
    from opentelemetry.trace import Span


def record_turn(
    request: TurnRequest,
    state: TurnState,
    log: RunLog,
    outcome: Outcome,
    *,
    span: Span | None,
    ids: Callable[[], Mapping[str, str]],
    model_calls: int,
) -> None:
    """Reports a turn that has ended.

    :param ids: what identifies the turn in the service's log.
    :param model_calls: how many calls of models were reported already, with their tokens.
    """
    sink, pieces = telemetry.current, log.count
    usage = outcome.answer.get("token_usage") if outcome.answer is not None else None
    if usage and not model_calls:
        sink.tokens(usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)
    error = None if outcome.error is None else telemetry.kind_of(outcome.error)
    if error is not None:
        sink.error(error)
    sink.turn_ended(request.door, _result(state), pieces)
    if span is not None:
        turn_spans.end(span, request, error, outcome.answer, pieces=pieces)
    if logs.texts_wanted():
        answer = outcome.answer
        text = answer_text(log.entries) if answer is None else text_of(answer.get("content"))
        logs.log_texts(text_of(request.message), text, ids())


def _result(state: TurnState) -> str:
    if state.phase is Phase.DONE:
        return telemetry.DONE
    if state.phase is Phase.CANCELLED:
        return telemetry.INCOMPLETE
    return telemetry.FAILED if state.attempt else telemetry.REFUSED
