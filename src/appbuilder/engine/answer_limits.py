"""How large answers may be, and how large texts are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

from appbuilder.engine.log import ENTRY
from appbuilder.errors import AnswerTooLarge
from appbuilder.settings import Settings

BATCH = 16 * 1024
"""Characters, and :data:`ENTRY` for each piece, after which to measure again; less is not counted."""


class Measured(NamedTuple):
    """``size`` in bytes of UTF-8; ``memory``, of the text in pieces and of the joined one."""

    size: int
    memory: int


class AnswerLimits:
    """How large the answers of a component may be, in bytes of UTF-8; 0: any size.

    ``small`` is a number of characters that is within the limits, whatever they are. ``unread`` is how far a
    component may be ahead of its fastest reader, with :data:`ENTRY` for each chunk.
    """

    __slots__ = ("most", "most_of_piece", "small", "unread")

    def __init__(self, settings: Settings) -> None:
        self.most = settings.max_answer
        self.most_of_piece = settings.max_piece
        self.unread = settings.max_unread
        self.small = self.room(0)

    def room(self, size: int) -> int:
        """Characters that can follow *size* bytes before they have to be measured."""
        left = (self.most - size) // 4 if self.most else BATCH
        return min(BATCH, left, self.most_of_piece // 4 or BATCH)

    def check(self, size: int) -> None:
        """:raises AnswerTooLarge: an answer may not have *size* bytes."""
        if 0 < self.most < size:
            raise AnswerTooLarge(f"The answer is larger than {self.most} bytes, which is the limit.")

    def parts(self, text: str) -> list[str]:
        """*text* as pieces that are not too large, itself if it is small enough."""
        step = self.most_of_piece
        if not step or 4 * len(text) <= step:
            return [text]
        if not text.isascii():
            step = max(1, step // 4)
        return [text[at : at + step] for at in range(0, len(text), step)]


def measured(pieces: Sequence[str]) -> Measured:
    """How large pieces of text are together."""
    text = pieces[0] if len(pieces) == 1 else "".join(pieces)
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return Measured(size, 2 * sys.getsizeof(text) + ENTRY * len(pieces))
