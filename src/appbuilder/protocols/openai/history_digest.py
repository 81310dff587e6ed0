"""Recognizing a conversation, or a place in it, by what was said; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from appbuilder.protocols.openai.messages import ChatMessage, Conversation

Pair = tuple[str, str]
"""What the user and the assistant said in one turn, without white space."""

_COMPARED = 100
"""Turns that are compared to tell one place in a conversation from another that looks the same."""
_MOST_PARTS = 10
"""Turns whose answers a client may send as one: each went on with the answer before it."""
_SHORT = 4096
_SPACE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""All white space there is, as ``str.split`` has it."""


def digest(said: Iterable[ChatMessage]) -> str:
    """What stands for a conversation that went this way, 64 characters.

    White space counts for nothing: clients trim it, and join the parts of a message each in its own way. Nor
    do messages without text, which clients leave out. System messages are no part of *said*: some hold the
    time.
    """
    hashed = hashlib.sha256()
    for each in said:
        text = bare(each.text)
        if text:
            # The length, so that no text can look like two messages.
            line = text.encode("utf-8", "surrogatepass")
            hashed.update(b"%s %d\n" % (each.role.encode(), len(line)))
            hashed.update(line)
    return hashed.hexdigest()


def bare(text: str) -> str:
    """*text* without white space."""
    if len(text) <= _SHORT:
        return "".join(text.split())
    for space in _SPACE:  # a text of a million words is not to become a million texts
        text = text.replace(space, "")
    return text


def pairs(talk: Conversation) -> list[Pair]:
    """The turns that a client sent again, oldest first.

    A user's message without an answer is a turn with an empty one. An answer that is to go on (the last
    message is the assistant's) is a turn, too.
    """
    found: list[tuple[str, list[str]]] = []
    for each in talk.before:
        if each.role == "user":
            found.append((each.text, []))
        elif found:
            found[-1][1].append(each.text)
    if talk.continued:
        found.append((talk.asked, [talk.continued]))
    return [(bare(asked), bare("".join(answers))) for asked, answers in found]


def goes_on_after(
    resent: Sequence[Pair], asked: str, stored: Sequence[Pair], *, from_start: bool
) -> int | None:
    """After how many of the *stored* turns a request goes on; those behind that place are replaced.

    None where that is not sure, and the request follows all of them. Only the turn just before the new
    question counts: where that one was changed on its way (trimmed, stripped, something put in), an earlier
    one shows nothing, as the turns between may be the ones that were changed. Where several stored turns are
    the same, it is the one before which the most is the same; of those the newest, unless the whole
    conversation was sent again, turn by turn.

    :param asked: the text of the new question.
    :param stored: the newest turns, oldest first.
    :param from_start: *stored* are all turns of the session.
    """
    found = _newest_same(resent, stored, from_start=from_start)
    return _is_repeated(resent, bare(asked), stored, from_start=from_start) if found is None else found


def _is_repeated(
    resent: Sequence[Pair], asked: str, stored: Sequence[Pair], *, from_start: bool
) -> int | None:
    """The place of a question that is asked again, before which there is no answer: it is the first, or those
    before it failed, and may not be stored.

    A client that sends its last message alone looks the same, so that this is sure only as long as nothing
    else was asked behind that place.
    """
    answered = next((count for count in range(len(resent), 0, -1) if resent[count - 1][1]), 0)
    if answered == len(resent) > 0:
        return None
    start = 0 if from_start else None
    found = _newest_same(resent[:answered], stored, from_start=from_start) if answered else start
    if found is None:
        return None
    for question, _ in resent[answered:]:
        found += found < len(stored) and stored[found][0] == question
    again = stored[found:]
    return found if again and all(question == asked for question, _ in again) else None


def _newest_same(resent: Sequence[Pair], stored: Sequence[Pair], *, from_start: bool) -> int | None:
    """After how many of the *stored* turns the newest resent one ends; None: it is not among them."""
    whole = _same_from_start(resent, stored) if from_start and resent else None
    if whole is not None:
        return whole
    found, longest = None, 0
    compared = resent[-_COMPARED:]
    for count in range(len(stored), 0, -1):
        if longest == len(compared):
            break
        same = _same_before(compared, stored, count)
        if same > longest:
            found, longest = count, same
    return found


def _same_from_start(resent: Sequence[Pair], stored: Sequence[Pair]) -> int | None:
    """How many stored turns, from the first on, are all that was sent again; None: they differ."""
    count = 0
    for each in resent:
        width = _width(each, stored[count : count + _MOST_PARTS])
        if not width:
            return None
        count += width
    return count


def _same_before(resent: Sequence[Pair], stored: Sequence[Pair], count: int) -> int:
    """How many turns are the same at the end of *resent* and of the first *count* stored."""
    for same, each in enumerate(reversed(resent)):
        width = _width(each, stored[max(0, count - _MOST_PARTS) : count], back=True)
        if not width:
            return same
        count -= width
    return len(resent)


def _width(resent: Pair, stored: Sequence[Pair], *, back: bool = False) -> int:
    """How many of the *stored* turns, from the first on, or from the last back, are a resent one; 0: none.

    They are several where an answer was made to go on: the client has put its parts together.
    """
    asked, answer = resent
    parts: list[str] = []
    left = len(answer)
    for question, said in reversed(stored) if back else stored:
        if question != asked or bool(said) != bool(answer):
            break
        parts.append(said)
        left -= len(said)
        if left <= 0:
            break
    whole = "".join(reversed(parts) if back else parts)
    return len(parts) if parts and whole == answer else 0
