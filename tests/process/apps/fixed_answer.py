"""What the command line's tests serve: paced answers, and one that remembers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

from appbuilder import Message, UserSession

PACE = 0.05


async def paced(message: str, words: int = 12) -> AsyncIterator[str]:
    """Says so many words of the message, again and again, one after the other."""
    given = message.split()
    for number in range(words):
        yield f"{given[number % len(given)]} "
        await asyncio.sleep(PACE)


async def endless(message: str) -> AsyncIterator[str]:
    """Says the words of the message again and again, and does not stop by itself."""
    for word in itertools.cycle(message.split()):
        yield f"{word} "
        await asyncio.sleep(PACE)


class Remembers:
    """Answers with all it was told in this session."""

    def run(self, message: Message[str], stream: bool = False) -> Message[str]:
        session = UserSession()
        before = [str(each.content) for each in session.get_history("said")]
        session.append({"said": message})
        return Message(" + ".join([*before, message.content]))


def dangerous(message: str) -> str:
    """Tries to steer the terminal."""
    return "\x1b[2Jred\x07\r" + message


def broken(message: str) -> str:
    """Fails."""
    raise OSError("no disk left")
