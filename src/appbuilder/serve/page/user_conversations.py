"""The conversations of who is asking, those included whose first turn is under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from appbuilder.core.conversations import Conversation, ConversationPage, ConversationRepository, title_of
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.http.rate_limits import limit_key
from appbuilder.serve.http.thread_pools import READS
from appbuilder.serve.page.page_turns import PageTurns

_T = TypeVar("_T")


class UserConversations:
    """Of a page. A conversation has a row when its first turn has ended; the page shows it before.

    What is under way is looked at before the conversation repository is read: a first turn that ends in
    between would otherwise be in neither.
    """

    def __init__(self, repository: ConversationRepository, turns: PageTurns) -> None:
        self._repository = repository
        self._turns = turns

    async def page(
        self, identity: Identity, *, search: str, limit: int, cursor: str | None
    ) -> ConversationPage:
        """As :meth:`ConversationRepository.page` of the identity's owners; what has just begun comes
        first."""
        begun = await self._just_begun(identity) if cursor is None and not search else []
        asked = partial(self._repository.page, search=search, limit=limit, cursor=cursor)
        page = await self.reading(identity, asked, identity.owners)
        ended = {each.session_id for each in page.conversations}
        still = [each for each in begun if each.session_id not in ended]
        return replace(page, conversations=[*still, *page.conversations])

    async def find(self, identity: Identity, session_id: str) -> Conversation | None:
        """The conversation; None: it does not exist, or belongs to another owner."""
        begun = await self._just_begun(identity)
        conversation = await self.reading(identity, self._repository.find, session_id)
        if conversation is None:
            return next((each for each in begun if each.session_id == session_id), None)
        return conversation if conversation.owner in identity.owners else None

    async def reading(self, identity: Identity, work: Callable[..., _T], *args: Any) -> _T:
        """Runs *work*, which asks the database, when it is this caller's turn."""
        return await READS.run_for(limit_key(identity), work, *args)

    async def _just_begun(self, identity: Identity) -> list[Conversation]:
        owner = identity.owner
        begun = {turn.run.request.session_id: turn for turn in self._turns.begun_by(owner)}
        return [
            Conversation(session_id, owner, title_of(turn.words), turn.began, turn.began)
            for session_id, turn in begun.items()
            if await self.reading(identity, self._repository.find, session_id) is None
        ]
