"""What every contender's program answers; the load generator knows it too and checks each answer."""

from __future__ import annotations

import time
from collections.abc import Iterator

PADDING = "北京有多少个区，哪个区的面积最大，海淀区有多大？"


def pieces(count: int, delay: float) -> Iterator[str]:
    """*count* pieces of text, *delay* seconds apart; the first comes at once."""
    for number in range(count):
        if number and delay:
            time.sleep(delay)
        yield f"t{number} "


def asked(words: str) -> Iterator[str]:
    """The answer to what :func:`for_pieces` asks."""
    count, delay, _ = words.split(" ", 2)
    return pieces(int(count), float(delay))


def for_pieces(count: int, delay: float) -> str:
    """A message that asks for *count* pieces, *delay* seconds apart."""
    return f"{count} {delay} {PADDING}"


def question(number: int) -> str:
    """The message of a session's turn *number*."""
    return f"q{number} {PADDING}"


def reply(query: str, last_query: str, last_answer: str) -> str:
    """The answer to *query*; it names the turn before, so that a wrong history shows."""
    return f"{_first(query)} after {_first(last_query)} and {_first(last_answer)} {PADDING}"


def _first(text: str) -> str:
    return text.split(" ", 1)[0]
