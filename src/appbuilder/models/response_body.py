"""The body of a model server's answer: JSON or server-sent events, whichever it is, within bounds."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import orjson

from appbuilder import jsontext
from appbuilder.models.sse_decoder import SseDecoder
from appbuilder.models.timeouts import Patience

MAX_BODY = 8 * 1024 * 1024
"""Bytes of the largest answer that is read whole."""
MOST_VALUES = 1_000_000
"""Values of the largest answer or event: what a value takes is not its length."""
_DRAIN = 0.1
"""Seconds for the end of a body after its last event, so that the connection can be used again."""
_FIELDS = (b"data", b"event", b"id", b"retry", b":")


class HtmlAnswer(ValueError):
    """The answer is an HTML page: a login, a proxy's error, another server altogether."""


class Body:
    """What *response* holds, decompressed. To be read once.

    :param patience: what is left of it bounds every wait; reading does not renew it.
    """

    def __init__(self, response: httpx2.Response, patience: Patience) -> None:
        self._patience = patience
        try:
            self._request: httpx2.Request | None = response.request
        except RuntimeError:  # it came from no client
            self._request = None
        self._chunks = self._within(response.iter_bytes())
        self._begin = self._first()
        self._html = self._begin[:1] == b"<" or "text/html" in response.headers.get("content-type", "")

    @property
    def is_json(self) -> bool:
        """Whether it begins as JSON does, which no event stream does."""
        return self._begin[:1] in (b"{", b"[")

    def json(self) -> dict[str, Any]:
        """The JSON object it is.

        :raises ValueError: it is not valid JSON, or longer than 8 MiB.
        """
        self._refuse_html()
        parts, size = [self._begin], len(self._begin)
        for part in self._chunks:
            parts.append(part)
            size += len(part)
            if size > MAX_BODY:
                raise ValueError("the answer is longer than 8 MiB")
        return json_object(b"".join(parts))

    def events(self) -> Iterator[bytes]:
        """The data of its server-sent events.

        :raises ValueError: (while iterating) an event has no end, or it is not a stream of events.
        """
        self._refuse_html()
        if self._begin and not self._begin.removeprefix(b"\xef\xbb\xbf").startswith(_FIELDS):
            raise ValueError("the answer is neither JSON nor a stream of events")
        decoder = SseDecoder()
        yield from decoder.feed(self._begin)
        for chunk in self._chunks:
            yield from decoder.feed(chunk)
        yield from decoder.end()

    def drain(self) -> None:
        """Reads what may follow the last event: the end of the body, if it is there."""
        self._patience.shorten(_DRAIN)
        with contextlib.suppress(httpx2.HTTPError):
            for _ in self._chunks:
                pass

    def _first(self) -> bytes:
        begin = b""
        for chunk in self._chunks:
            begin += chunk.lstrip()  # blank lines keep a connection open and say nothing
            if len(begin) >= max(map(len, _FIELDS)) or begin[:1] in b"{[<":
                break
        return begin

    def _refuse_html(self) -> None:
        if self._html:
            raise HtmlAnswer("the answer is an HTML page")

    def _within(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            # A read that finds something at once is not held up by its own time-out.
            if self._patience.left() <= 0:
                raise httpx2.ReadTimeout("the time is over", request=self._request)
            yield chunk


def json_object(data: bytes) -> dict[str, Any]:
    """Reads a JSON object. Halves of surrogate pairs are kept: the other one may come with the next piece.

    :raises ValueError: *data* is not valid, or holds more than 1,000,000 values.
    """
    if len(data) > MOST_VALUES and jsontext.holds_more_values(data, MOST_VALUES):
        raise jsontext.TooManyValues("it holds too many values")
    try:
        value = orjson.loads(bytes(data))  # of a subclass it takes none
    except orjson.JSONDecodeError:
        if b"\\ud" not in data and b"\\uD" not in data:
            raise
        try:
            value = json.loads(data)
        except RecursionError:
            raise jsontext.NotJson("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise jsontext.NotJson("it is not an object")
    return value
