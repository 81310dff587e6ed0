r"""Mathematics as models write it, ``\(a\)`` and ``\[b\]``, as the page reads it: ``$a$`` and ``$$b$$``.

In Markdown ``\(`` is a plain bracket, so without this a formula would be shown as its source. Code is left as
it is. Text comes in pieces, and a delimiter may be cut in two.
"""

from __future__ import annotations

import re

_MARKS = {r"\(": "$", r"\)": "$", r"\[": "$$", r"\]": "$$"}
_TOKEN = re.compile(r"`+|\\.?", re.DOTALL)


class Mathematics:
    """Changes the delimiters of a text while it passes."""

    def __init__(self) -> None:
        self._held = ""
        self._code = ""
        """The backticks that began the code we are in."""

    def feed(self, text: str) -> str:
        """What may be shown after *text* came in; an end that may go on is held back."""
        text = self._held + text
        cut = len(text.rstrip("`"))
        if _ends_in_escape(text[:cut]):
            cut -= 1
        self._held = text[cut:]
        return self._changed(text[:cut])

    def end(self) -> str:
        """What was held back."""
        held, self._held = self._held, ""
        return self._changed(held)

    def _changed(self, text: str) -> str:
        return _TOKEN.sub(self._token, text)

    def _token(self, found: re.Match[str]) -> str:
        token = found[0]
        if token[0] == "`":
            if not self._code:
                self._code = token
            elif token == self._code or (len(self._code) > 2 and token.startswith(self._code)):
                self._code = ""
            return token
        return token if self._code else _MARKS.get(token, token)


def _ends_in_escape(text: str) -> bool:
    """Whether the last backslash still waits for what it escapes."""
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1
