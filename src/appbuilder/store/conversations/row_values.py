"""What a conversation's own row holds; pure."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appbuilder import jsontext
from appbuilder.core.conversations import (
    CONVERSATION_PREFIX,
    Conversation,
    ConversationPage,
    Owner,
    Rating,
    shown,
    title_of,
)
from appbuilder.errors import InvalidRequest
from appbuilder.ids import derived_id

NOBODY = CONVERSATION_PREFIX + "nobody"
_LOGOUT = "logout"


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """How a conversation is listed: id, key and JSON text of its row.

    They are worked out when they are asked for: of a conversation that goes on no one asks for the text.
    """

    session_id: str
    owner: Owner
    title: str

    @property
    def id(self) -> str:
        return row_id(self.session_id)

    @property
    def key(self) -> str:
        return owner_key(self.owner)

    @property
    def text(self) -> str:
        return value_text(self.owner, self.title)


def row_id(session_id: str) -> str:
    """The id of the row of a session, so that two processes cannot make two."""
    return derived_id("conversation", session_id)


def owner_key(owner: Owner) -> str:
    """The key of the rows of an owner, whose name may be longer than a key."""
    if owner is None:
        return NOBODY
    name = owner.encode("utf-8", "surrogatepass")
    return CONVERSATION_PREFIX + hashlib.blake2b(name, digest_size=16).hexdigest()


def value_text(owner: Owner, title: str) -> str:
    """The row's JSON value; ``folded`` is what a search looks into."""
    title = title_of(title)
    # PostgreSQL gives nothing out of JSON that holds a NUL.
    name = owner.split("\0") if owner is not None and "\0" in owner else owner
    return jsontext.dumps({"owner": name, "title": title, "folded": fold(title)}).decode()


def read(session_id: str, text: Any, created_at: datetime, updated_at: datetime) -> Conversation:
    """The conversation whose row has this value."""
    owner, title = _parts(text)
    return Conversation(session_id, owner, title, created_at, updated_at)


def renamed(text: Any, title: str) -> str:
    """The row's value with another title."""
    return value_text(_parts(text)[0], title)


def owner_in(text: Any) -> Owner:
    """The owner of the conversation whose row has this value."""
    return _parts(text)[0]


def tokens_of(text: Any) -> int:
    """How many tokens the turn whose row has this value used; 0 where it does not say.

    Never less: an import may say anything, and must not make room for more.
    """
    try:
        tokens = json.loads(text)["answer"]["token_usage"]["total_tokens"]
    except (ValueError, TypeError, LookupError):
        return 0
    return max(0, tokens) if isinstance(tokens, int) and not isinstance(tokens, bool) else 0


def _parts(text: Any) -> tuple[Owner, str]:
    value = json.loads(text)
    owner = value["owner"]
    return "\0".join(owner) if isinstance(owner, list) else owner, value["title"]


def fold(text: str) -> str:
    """*text* without the differences a search passes over: upper and lower case, full and half width."""
    return shown(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()))


def rating_id(turn_id: str) -> str:
    """The id of the row that rates a turn."""
    return derived_id("rating", turn_id)


def rating_text(turn_id: str, rating: Rating) -> str:
    """The JSON value of that row."""
    return jsontext.dumps({"turn": turn_id, "good": rating.good, "comment": rating.comment}).decode()


def rating_of(value: Any) -> tuple[str, Rating]:
    """The turn's id, and its rating, from the row's value."""
    return str(value["turn"]), Rating(bool(value["good"]), str(value.get("comment") or ""))


def logout_id(login: str) -> str:
    """The id of the row that notes the end of a login."""
    return derived_id(_LOGOUT, login)


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in a list of conversations: that of one with this time and row id."""

    updated_at: datetime
    row_id: str

    def __str__(self) -> str:
        return f"{self.updated_at.isoformat(timespec='microseconds')}~{self.row_id}"

    @classmethod
    def read(cls, text: str | None) -> Cursor | None:
        """:raises InvalidRequest: it is not one we gave out."""
        if text is None:
            return None
        match = _CURSOR.fullmatch(text)
        try:
            if match is not None:
                return cls(datetime.fromisoformat(match[1]), match[2])
        except ValueError:
            pass  # a month 13
        raise InvalidRequest("The cursor is not one of this list: begin again without it.")


_CURSOR = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})~([0-9a-f-]{36})", re.ASCII)


def page_of(found: Iterable[tuple[Cursor, Conversation]], limit: int) -> ConversationPage:
    """The first *limit* of what was found of one owner and another."""
    ordered = sorted(found, key=lambda each: each[0], reverse=True)
    first = ordered[:limit]
    more = str(first[-1][0]) if len(ordered) > limit else None
    return ConversationPage([conversation for _, conversation in first], more)


def title_of_message(value: Any) -> str:
    """The title of a conversation that began with this message, JSON members as they are stored."""
    return title_of(_text_in(value.get("content") if isinstance(value, dict) else value))


def _text_in(content: Any) -> str:
    """The first text in a message's content."""
    if isinstance(content, str):
        return content
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return next(filter(None, map(_text_in, inner)), "")
