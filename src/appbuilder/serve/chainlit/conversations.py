"""The conversations of who is asking, those included whose first turn is under way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from appbuilder.core.catalogue import Catalogue, Conversation, ConversationPage, title_of
from appbuilder.serve.asking import Identity
from appbuilder.serve.chainlit.turns import PageTurns


class Conversations:
    """Of a page. A conversation has a row when its first turn has ended; the page shows it before.

    What is under way is looked at before the catalogue is read: a first turn that ends in between would
    otherwise be in neither.
    """

    def __init__(self, catalogue: Catalogue, turns: PageTurns) -> None:
        self._catalogue = catalogue
        self._turns = turns

    async def page(
        self, identity: Identity, *, search: str, limit: int, cursor: str | None
    ) -> ConversationPage:
        """As :meth:`Catalogue.page` of the identity's owners; what has just begun comes first."""
        begun = await self._just_begun(identity.owner) if cursor is None and not search else []
        page = await asyncio.to_thread(
            self._catalogue.page, identity.owners, search=search, limit=limit, cursor=cursor
        )
        ended = {each.session_id for each in page.conversations}
        still = [each for each in begun if each.session_id not in ended]
        return replace(page, conversations=[*still, *page.conversations])

    async def find(self, identity: Identity, session_id: str) -> Conversation | None:
        """The conversation; None: there is none, or it is somebody else's."""
        begun = await self._just_begun(identity.owner)
        conversation = await asyncio.to_thread(self._catalogue.find, session_id)
        if conversation is None:
            return next((each for each in begun if each.session_id == session_id), None)
        return conversation if conversation.owner in identity.owners else None

    async def _just_begun(self, owner: str) -> list[Conversation]:
        begun = {turn.run.request.session_id: turn for turn in self._turns.begun_by(owner)}
        return [
            Conversation(session_id, owner, title_of(turn.words), turn.began, turn.began)
            for session_id, turn in begun.items()
            if await asyncio.to_thread(self._catalogue.find, session_id) is None
        ]
