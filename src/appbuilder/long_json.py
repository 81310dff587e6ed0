"""Writing JSON that holds long texts, in parts.

orjson asks at once for eight times what a text is long, and where it does not get it the process ends. Given
the parts of a long text one by one it needs little more than what is written in the end.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PART = 256 * 1024
"""Characters that are written at once."""


class Expected:
    """Whether long texts are being written now, by whatever thread; ``now`` is how often."""

    def __init__(self) -> None:
        self.now = 0
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Until it ends, JSON is written in parts."""
        with self._lock:
            self.now += 1
        try:
            yield
        finally:
            with self._lock:
                self.now -= 1


def written(value: Any, write: Callable[[Any], bytes]) -> bytes:
    """What *write* makes of a JSON value, whose long texts it gets in parts."""
    texts: list[str] = []
    mark = secrets.token_hex(16)
    data = write(_without(value, mark, texts))
    if not texts:
        return data
    parts: list[bytes] = []
    # What the mark leaves: the rest before it, a number, the rest after it, and so on.
    for at, part in enumerate(re.split(rb'"%b(\d+)"' % mark.encode(), data)):
        if at % 2:
            parts.append(b'"')
            text = _clean(texts[int(part)])
            parts += [write(text[begin : begin + PART])[1:-1] for begin in range(0, len(text), PART)]
            parts.append(b'"')
        else:
            parts.append(part)
    return b"".join(parts)


def _clean(text: str) -> str:
    """*text* without lone surrogates: the halves of a pair must not come into two parts."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _without(value: Any, mark: str, texts: list[str]) -> Any:
    kind = type(value)
    if kind is str and len(value) > PART:
        texts.append(value)
        return f"{mark}{len(texts) - 1}"
    if kind is dict:
        return {name: _without(member, mark, texts) for name, member in value.items()}
    if kind is list:
        return [_without(element, mark, texts) for element in value]
    return value
