"""Chainlit's data layer over the conversation repository. It only reads, renames, rates and deletes.

A turn is written by the engine, whole, in its one transaction. Chainlit's own calls for each step of it,
of which it makes five or six a turn and waits for none, write nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from chainlit.data.base import BaseDataLayer
from chainlit.types import Feedback, PageInfo, PaginatedResponse, Pagination, ThreadDict, ThreadFilter
from chainlit.user import PersistedUser, User

from appbuilder.core.context import current_context
from appbuilder.core.conversations import Conversation, ConversationRepository, Rating, title_of
from appbuilder.errors import NotFound
from appbuilder.serve.auth.page_identity import PageContext
from appbuilder.serve.page import threads, turn_window
from appbuilder.serve.page.page_turns import PageTurns
from appbuilder.serve.page.user_conversations import UserConversations

if TYPE_CHECKING:
    from chainlit.element import Element, ElementDict
    from chainlit.step import StepDict

_T = TypeVar("_T")

MOST_LISTED = 100
_LONGEST_COMMENT = 4000
_LONGEST_ID = 36
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_EPOCH = "1970-01-01T00:00:00Z"


def request_info() -> PageContext:
    """Who asks, as the page's gate has found."""
    context = current_context()
    assert isinstance(context, PageContext), "a request that did not come through the gate"
    return context


def is_conversation_id(value: object) -> TypeGuard[str]:
    """Whether a conversation, or a turn, may have this id: others no database holds."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and not _UNFIT.search(value)


class CatalogueLayer(BaseDataLayer):
    """What Chainlit asks of its data layer, answered for whoever is asking."""

    def __init__(self, repository: ConversationRepository, turns: PageTurns) -> None:
        self._repository = repository
        self._turns = turns
        self._conversations = UserConversations(repository, turns)

    # Users: the gate knows them, nothing is kept of them here.

    async def get_user(self, identifier: str) -> PersistedUser | None:
        return PersistedUser(id=identifier, createdAt=_EPOCH, identifier=identifier)

    async def create_user(self, user: User) -> PersistedUser | None:
        return await self.get_user(user.identifier)

    # UserConversations

    async def list_threads(
        self, pagination: Pagination, filters: ThreadFilter
    ) -> PaginatedResponse[ThreadDict]:
        identity = request_info().identity
        page = await self._conversations.page(
            identity,
            search=filters.search or "",
            limit=max(1, min(pagination.first, MOST_LISTED)),
            cursor=pagination.cursor,
        )
        found: Any = [threads.listed(each, identity.owner) for each in page.conversations]
        info = PageInfo(hasNextPage=page.next is not None, startCursor=pagination.cursor, endCursor=page.next)
        return PaginatedResponse(pageInfo=info, data=found)

    async def get_thread(self, thread_id: str) -> ThreadDict | None:
        conversation = await self._find(thread_id)
        if conversation is None:
            return None
        who = request_info()

        def open_it() -> Any:
            shown = turn_window.newest(self._repository, thread_id)
            told = {"author": self._turns.author, "language": who.language}
            return threads.opened(conversation, who.identity.owner, shown, **told)

        thread: ThreadDict = await self._reading(open_it)
        return thread

    async def get_thread_author(self, thread_id: str) -> str:
        # Whoever may see it may do all with it; others do not learn that it exists.
        return request_info().identity.owner if await self._find(thread_id) else ""

    async def update_thread(
        self,
        thread_id: str,
        name: str | None = None,
        user_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        tags: list[str] | None = None,
    ) -> None:
        # Chainlit's own naming of a new conversation brings the user; the engine has named it already.
        if name is not None and user_id is None and await self._find(thread_id):
            await self._reading(self._repository.rename, thread_id, title_of(name))
            await self._turns.tabs.notify_renamed(request_info().identity.owner)

    async def delete_thread(self, thread_id: str) -> None:
        if await self._find(thread_id):
            await self._turns.stop_and_wait(thread_id)
            await self._reading(self._repository.delete, thread_id)
            await self._turns.tabs.notify_deleted(thread_id)

    async def _reading(self, work: Callable[..., _T], *args: Any) -> _T:
        return await self._conversations.reading(request_info().identity, work, *args)

    async def _find(self, session_id: str) -> Conversation | None:
        if not is_conversation_id(session_id):
            return None
        return await self._conversations.find(request_info().identity, session_id)

    # Ratings

    async def upsert_feedback(self, feedback: Feedback) -> str:
        await self._check_turn(feedback.forId)
        rating = Rating(feedback.value == 1, (feedback.comment or "")[:_LONGEST_COMMENT])
        await self._reading(self._repository.rate, feedback.forId, rating)
        return feedback.forId

    async def delete_feedback(self, feedback_id: str) -> bool:
        await self._check_turn(feedback_id)
        return await self._reading(self._repository.unrate, feedback_id)

    async def _check_turn(self, turn_id: str) -> None:
        if not is_conversation_id(turn_id):
            raise NotFound("There is no such answer.")
        session_id = await self._reading(self._repository.conversation_of, turn_id)
        if session_id is None or await self._find(session_id) is None:
            raise NotFound("There is no such answer.")

    # What is not used

    async def create_step(self, step_dict: StepDict) -> None:
        """The engine writes."""

    async def update_step(self, step_dict: StepDict) -> None:
        """The engine writes."""

    async def delete_step(self, step_id: str) -> None:
        """Nothing said is taken back."""

    async def create_element(self, element: Element) -> None:
        """The engine writes."""

    async def get_element(self, thread_id: str, element_id: str) -> ElementDict | None:
        return None

    async def delete_element(self, element_id: str, thread_id: str | None = None) -> None:
        """Nothing shown is taken back."""

    async def get_favorite_steps(self, user_id: str) -> list[StepDict]:
        return []

    async def build_debug_url(self) -> str:
        return ""

    async def close(self) -> None:
        """The store is the runtime's."""
