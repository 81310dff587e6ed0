"""Recognizing a conversation by what was said in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from appbuilder.wire.openai.messages import Said


def digest(said: Iterable[Said]) -> str:
    """What stands for a conversation that went this way, 64 characters.

    White space counts for nothing: clients trim it, and join the parts of a message each in its own way. Nor
    do messages without text, which clients leave out. System messages are no part of *said*: some hold the
    time.
    """
    hashed = hashlib.sha256()
    for each in said:
        text = "".join(each.text.split())
        if text:
            # The length, so that no text can look like two messages.
            line = text.encode("utf-8", "surrogatepass")
            hashed.update(b"%s %d\n" % (each.role.encode(), len(line)))
            hashed.update(line)
    return hashed.hexdigest()
