"""Server-sent events, as the HTML standard defines them (section 9.2.6, "Interpreting an event stream")."""

from __future__ import annotations

from typing import Protocol

from appbuilder.engine.log import Outcome
from appbuilder.engine.reader import Batch
from appbuilder.errors import ComponentError
from appbuilder.logs import logger

CONTENT_TYPE = "text/event-stream; charset=utf-8"
COMMENT = b": keep-alive\n\n"
"""Keeps an idle connection open; clients ignore it."""


def event(data: bytes, name: str = "") -> bytes:
    """One event, perhaps with a *name*. *data* is JSON on one line, so nothing in it can end the event."""
    named = f"event: {name}\n".encode() if name else b""
    return named + b"data: " + data + b"\n\n"


class Encoder(Protocol):
    """Writes the events of one stream of a protocol."""

    def events(self, batch: Batch) -> bytes:
        """The events of what leaves together; empty where the protocol shows none of it."""

    def last(self, outcome: Outcome) -> bytes:
        """The events that end the stream; of a run that failed, those that say so."""


def encoded(encoder: Encoder, batch: Batch, request_id: str) -> tuple[bytes, bool]:
    """What is to be sent of a batch, and whether nothing follows it.

    A stream ends with a last event, also where the answer cannot be written.
    """
    try:
        outcome, body = batch.outcome, encoder.events(batch) if batch.entries else b""
        return (body, False) if outcome is None else (body + encoder.last(outcome), True)
    except Exception as error:  # noqa: BLE001 - a component may say anything
        logger.error("request %s: its answer is not JSON", request_id, exc_info=error)
        return encoder.last(Outcome(error=ComponentError("The answer is not JSON."))), True
