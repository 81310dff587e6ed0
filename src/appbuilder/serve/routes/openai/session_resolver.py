"""Which session a turn belongs to, and how its conversation is recognized the next time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from appbuilder.core.history_index import HistoryIndex
from appbuilder.core.message import text_of
from appbuilder.engine.log import Outcome
from appbuilder.errors import StoreUnavailable
from appbuilder.ids import new_id
from appbuilder.logs import logger
from appbuilder.protocols.chat import Header
from appbuilder.protocols.openai import open_webui
from appbuilder.protocols.openai.history_digest import digest
from appbuilder.protocols.openai.messages import ChatMessage, Conversation
from appbuilder.serve.auth.request_info import ANONYMOUS, Identity
from appbuilder.serve.http.thread_pools import TURNS


@dataclass(slots=True)
class SessionResolver:
    """The session of one turn.

    :param new: its id was made for this request.
    """

    session_id: str
    new: bool

    async def remember(self, outcome: Outcome | None) -> None:
        """To be called when the turn has ended, before that is reported; None: it did not begin, or goes on.

        Calls after the first do nothing.
        """


async def resolve_session(
    transcripts: HistoryIndex, identity: Identity, conversation: Conversation
) -> SessionResolver:
    """The place of a conversation that a client sends whole each time; a new one where it is not known.

    :raises StoreUnavailable: the database does not answer.
    """
    owner = identity.owner
    if owner == ANONYMOUS:
        # Anonymous callers share this owner: who says what another has said would get access to that session.
        return SessionResolver(new_id(), new=True)
    before: str | None = None
    session_id: str | None = None
    if conversation.before:
        before, session_id = await TURNS.run_for(owner, _take, transcripts, owner, conversation.before)
    return _IndexedSession(
        session_id or new_id(),
        session_id is None,
        transcripts,
        owner,
        conversation,
        before if session_id else None,
    )


def _take(transcripts: HistoryIndex, owner: str, before: Sequence[ChatMessage]) -> tuple[str, str | None]:
    stands_for_it = digest(before)
    return stands_for_it, transcripts.take(owner, stands_for_it)


def resolve_reference(
    transcripts: HistoryIndex, identity: Identity, conversation: Conversation, session_id: str
) -> SessionResolver:
    """The place of a conversation that a client names by its items, so that it is recognized by them, too."""
    if identity.owner == ANONYMOUS:
        return SessionResolver(session_id, new=False)
    return _IndexedSession(session_id, False, transcripts, identity.owner, conversation, None)


@dataclass(slots=True)
class _IndexedSession(SessionResolver):
    """A place that must be remembered when its turn has ended.

    :param taken: the digest it was found by, given back where the turn adds nothing.
    """

    transcripts: HistoryIndex
    owner: str
    conversation: Conversation
    taken: str | None
    remembered: bool = False

    async def remember(self, outcome: Outcome | None) -> None:
        if self.remembered:
            return
        self.remembered = True
        if self.taken is None and (outcome is None or outcome.answer is None):
            return
        try:
            await TURNS.run_for(self.owner, self._remember, outcome)
        except StoreUnavailable:
            # The turn itself is stored, or was refused; either way that is what the caller must hear.
            logger.warning("session %s will not be recognized by its history", self.session_id, exc_info=True)

    def _remember(self, outcome: Outcome | None) -> None:
        stands_for_it = self._after(outcome)
        if stands_for_it is not None:
            self.transcripts.remember(self.owner, stands_for_it, self.session_id)

    def _after(self, outcome: Outcome | None) -> str | None:
        if outcome is None or outcome.answer is None:
            return self.taken
        conversation, answer = self.conversation, text_of(outcome.answer.get("content"))
        return digest(
            [*conversation.before, ChatMessage("user", conversation.asked), ChatMessage("assistant", answer)]
        )


def acting_for(identity: Identity, header: Header) -> Identity:
    """Whose a turn is: Open WebUI's user where the caller may speak for others, else the caller.

    Who may see everybody's sessions gains nothing by naming another user; anybody else would.
    """
    user = open_webui.user_of(header) if identity.sees_all_others else None
    if user is None:
        return identity
    # Not user:<e-mail address>. Open WebUI lets people sign up with addresses no one has checked.
    return Identity(user.label, f"openwebui:{user.id}", peer=identity.peer)
