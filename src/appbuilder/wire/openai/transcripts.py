"""Recognizing a conversation by what was said in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from appbuilder.wire.openai.messages import Said

_SHORT = 4096
_SPACE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""All white space there is, as ``str.split`` has it."""


def digest(said: Iterable[Said]) -> str:
    """What stands for a conversation that went this way, 64 characters.

    White space counts for nothing: clients trim it, and join the parts of a message each in its own way. Nor
    do messages without text, which clients leave out. System messages are no part of *said*: some hold the
    time.
    """
    hashed = hashlib.sha256()
    for each in said:
        text = _without_space(each.text)
        if text:
            # The length, so that no text can look like two messages.
            line = text.encode("utf-8", "surrogatepass")
            hashed.update(b"%s %d\n" % (each.role.encode(), len(line)))
            hashed.update(line)
    return hashed.hexdigest()


def _without_space(text: str) -> str:
    if len(text) <= _SHORT:
        return "".join(text.split())
    for space in _SPACE:  # a text of a million words is not to become a million texts
        text = text.replace(space, "")
    return text
