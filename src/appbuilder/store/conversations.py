"""What a conversation's own row holds; pure."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import Any

from appbuilder import jsontext
from appbuilder.core.catalogue import CONVERSATION_PREFIX, Owner, title_of
from appbuilder.ids import derived_id

NOBODY = CONVERSATION_PREFIX + "nobody"


@dataclass(frozen=True, slots=True)
class Listing:
    """How a conversation is listed: id, key and JSON text of its row."""

    id: str
    key: str
    text: str

    @classmethod
    def of(cls, session_id: str, owner: Owner, title: str) -> Listing:
        return cls(row_id(session_id), owner_key(owner), value_text(owner, title))


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
    return jsontext.dumps({"owner": owner, "title": title, "folded": fold(title)}).decode()


def fold(text: str) -> str:
    """*text* without the differences a search passes over: upper and lower case, full and half width."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def title_of_message(value: Any) -> str:
    """The title of a conversation that began with this message, JSON members as they are stored."""
    return title_of(_text_in(value.get("content") if isinstance(value, dict) else value))


def _text_in(content: Any) -> str:
    """The first text in a message's content."""
    if isinstance(content, str):
        return content
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return next(filter(None, map(_text_in, inner)), "")
