"""Server-sent events, as the HTML standard defines them (section 9.2.6, "Interpreting an event stream")."""

from __future__ import annotations

CONTENT_TYPE = "text/event-stream; charset=utf-8"
COMMENT = b": keep-alive\n\n"
"""Keeps an idle connection open; clients ignore it."""


def event(data: bytes, name: str = "") -> bytes:
    """One event, perhaps with a *name*. *data* is JSON on one line, so nothing in it can end the event."""
    named = f"event: {name}\n".encode() if name else b""
    return named + b"data: " + data + b"\n\n"
