"""Server-sent events, decoded without I/O.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html (9.2.5, 9.2.6). Only ``data`` is
kept: no model server we speak to gives the other fields a meaning.
"""

from __future__ import annotations

import re

MAX_EVENT = 16 * 1024 * 1024
"""Bytes; an event that is longer is not buffered further."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventTooLong(ValueError):
    """An event is longer than :data:`MAX_EVENT`."""


class SseDecoder:
    """Bytes in, as they come; the data of whole events out."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0
        self._begun = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that *chunk* completes, in order.

        :raises EventTooLong: an event is longer than 16 MiB.
        """
        text = self._rest + chunk
        if not self._begun:
            if len(text) < len(_BOM) and _BOM.startswith(text):
                self._rest = text
                return []
            self._begun = True
            text = text.removeprefix(_BOM)
        # A CR at the end may be the first half of a CRLF.
        held = text.endswith(b"\r")
        lines = _LINE_END.split(text[:-1] if held else text)
        self._rest = lines.pop() + (b"\r" if held else b"")
        if self._size + len(self._rest) > MAX_EVENT:
            raise EventTooLong("a server-sent event is longer than 16 MiB")
        return [event for line in lines if (event := self._line(line)) is not None]

    def end(self) -> list[bytes]:
        """The data of a last event that no blank line ended: AppBuilder's gateway may leave that out."""
        events = self.feed(b"\n\n")
        self._rest = b""
        return events

    def _line(self, line: bytes) -> bytes | None:
        if not line:
            data, self._data, self._size = self._data, [], 0
            return b"\n".join(data) if data else None
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)
        return None
