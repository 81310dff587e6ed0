"""Server-sent events, as the HTML standard defines them (section 9.2.6, "Interpreting an event stream")."""

from __future__ import annotations

CONTENT_TYPE = "text/event-stream; charset=utf-8"
COMMENT = b": keep-alive\n\n"
"""Keeps an idle connection open; clients ignore it."""


def event(data: bytes) -> bytes:
    """One event. *data* is JSON on one line, so nothing in it can end the event."""
    return b"data: " + data + b"\n\n"


def one_line(events: bytes) -> bytes:
    """*events* of JSON, with the line ends of Unicode escaped.

    The standard knows only LF and CR, but some clients split with a function that knows the others too.
    """
    # Most have no such byte, and one byte is found many times faster than two.
    if b"\xe2" in events or b"\xc2" in events:
        for raw, escaped in _LINE_ENDS:
            events = events.replace(raw, escaped)
    return events


_LINE_ENDS = tuple((end.encode(), b"\\u%04x" % ord(end)) for end in "\x85\u2028\u2029")
