"""Server-sent events, decoded without I/O.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html (9.2.5, 9.2.6). Only ``data`` is
kept, and of ``event`` whether it is ``error``: model servers give the other fields no meaning.
"""

from __future__ import annotations

import re

MAX_EVENT = 8 * 1024 * 1024
"""Bytes; an event that is longer is not buffered further."""

_OVERHEAD = 40
"""Bytes that a line costs besides its text, so that many empty ones count as well."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventTooLong(ValueError):
    """An event is longer than :data:`MAX_EVENT`."""


class ErrorEvent(bytes):
    """The data of an event whose name is ``error``."""


class SseDecoder:
    """Bytes in, as they come; the data of whole events out."""

    def __init__(self) -> None:
        self._rest = b""
        # What came of a line that has no end yet: looked through once, however many chunks it comes in.
        self._open = bytearray()
        self._failed = False
        self._data: list[bytes] = []
        self._size = 0
        self._begun = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that *chunk* completes, in order.

        :raises EventTooLong: an event is longer than 8 MiB.
        """
        if self._begun and not self._rest.endswith(b"\r") and b"\n" not in chunk and b"\r" not in chunk:
            self._open += chunk
            self._check_size()
            return []
        text = b"".join((self._rest, self._open, chunk))
        self._open.clear()
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
        events = [event for line in lines if (event := self._line(line)) is not None]
        self._check_size()
        return events

    def end(self) -> list[bytes]:
        """The data of a last event that no blank line ended: AppBuilder's gateway may leave that out."""
        events = self.feed(b"\n\n")
        self._rest = b""
        return events

    def _check_size(self) -> None:
        if self._size + len(self._rest) + len(self._open) > MAX_EVENT:
            raise EventTooLong("a server-sent event is longer than 8 MiB")

    def _line(self, line: bytes) -> bytes | None:
        if not line:
            data, self._data, self._size = self._data, [], 0
            failed, self._failed = self._failed, False
            if not data:
                return None
            return ErrorEvent(b"\n".join(data)) if failed else b"\n".join(data)
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value) + _OVERHEAD
            self._check_size()
        elif name == b"event":
            self._failed = value.strip() == b"error"
        return None
