"""The turns of a conversation that the chat page leaves out: a plain page, a part at a time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from appbuilder import jsontext
from appbuilder.core.conversations import Conversation, ConversationRepository, Place, StoredRow
from appbuilder.core.message import text_of
from appbuilder.core.store import FAILED, INCOMPLETE, TURN_KEY
from appbuilder.errors import InvalidRequest, NotFound
from appbuilder.protocols.rest.transcript import turn_view
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.page import page_steps, threads, turn_window
from appbuilder.serve.page.page_texts import is_chinese, text
from appbuilder.serve.page.user_conversations import UserConversations

_PLACE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})~([!-~]{0,36})", re.ASCII)
_LONGEST_DIRECTED = 20_000
_WORDS = ("earlier", "back", "question", "no_earlier")

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
# Each paragraph in its own direction; of a giant one without line ends browsers take minutes.
_templates.filters["classes"] = lambda words: "words short" if len(words) <= _LONGEST_DIRECTED else "words"


@dataclass(frozen=True, slots=True)
class Shown:
    """A turn as the page shows it."""

    question: str
    answer: str
    note: str
    at: str


class EarlierTurnsPage:
    """The page of earlier turns.

    :param name: the assistant's.
    """

    def __init__(
        self, repository: ConversationRepository, conversations: UserConversations, name: str
    ) -> None:
        self._repository = repository
        self._conversations = conversations
        self._name = name

    async def page(self, identity: Identity, session_id: str, before: str | None, language: str) -> Response:
        """The turns before a place.

        :param before: the place, as :func:`threads.earlier_address` writes it; None: the newest turns.
        :raises NotFound: there is no such conversation, or it is another caller's.
        :raises InvalidRequest: *before* is not a place.
        """
        place = _place(before)
        conversation = await self._conversations.find(identity, session_id)
        if conversation is None:
            raise NotFound("There is no such conversation.")
        html = await self._conversations.reading(identity, self._render, conversation, place, language)
        return HTMLResponse(html)

    def _render(self, conversation: Conversation, before: Place | None, language: str) -> str:
        found = turn_window.newest(self._repository, conversation.session_id, before=before)
        session_id = conversation.session_id
        html = _templates.get_template("earlier.html").render(
            words_language="zh-CN" if is_chinese(language) else "en",
            title=conversation.title,
            name=self._name,
            turns=[_shown(turn, language) for turn in found.turns],
            older=found.earlier and threads.earlier_address(session_id, found.earlier),
            chat=f"/thread/{quote(session_id, safe='')}",
            words={name: text(name, language) for name in _WORDS},
        )
        return jsontext.clean(html)


def _shown(turn: Sequence[StoredRow], language: str) -> Shown:
    said = turn_view(turn)
    note = ""
    if said.state == FAILED or said.error:
        note = _failure(said.error, language)
    elif said.state == INCOMPLETE:
        note = text("stopped", language)
    else:
        note = " ".join(filter(None, page_steps.cut_words(language, _answer(turn[-1]))))
    return Shown(text_of(said.input), text_of(said.answer), note, page_steps.iso(said.created_at))


def _answer(row: StoredRow) -> Any:
    """The answer's JSON members; a component's own last row is the answer."""
    own = row.key == TURN_KEY and isinstance(row.value, Mapping)
    return row.value.get("answer") if own else row.value


def _failure(error: Any, language: str) -> str:
    return text(str(error.get("kind")), language, str(error.get("text", "")))


def _place(written: str | None) -> Place | None:
    if written is None:
        return None
    found = _PLACE.fullmatch(written)
    try:
        if found is not None:
            return datetime.fromisoformat(found[1]), found[2]
    except ValueError:
        pass  # a month 13
    raise InvalidRequest("There is no such place in this conversation.")
