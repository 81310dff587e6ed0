"""Which session a conversation is that a client sends whole each time."""

from __future__ import annotations

import asyncio

import pytest

from appbuilder.engine.log import Outcome
from appbuilder.protocols.openai.messages import ChatMessage, Conversation
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.routes.openai.session_resolver import SessionResolver, resolve_session

ANN = Identity("ann", "user:ann")
NOBODY = Identity("anonymous", "anonymous", peer="10.0.0.5")


class Transcripts:
    """The protocol, in memory."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], str] = {}

    def remember(self, owner: str, digest: str, session_id: str) -> None:
        self.known[owner, digest] = session_id

    def take(self, owner: str, digest: str) -> str | None:
        return self.known.pop((owner, digest), None)

    def forget(self, owner: str) -> None:
        self.known = {key: session_id for key, session_id in self.known.items() if key[0] != owner}


def said(transcripts: Transcripts, identity: Identity, *before: ChatMessage, text: str) -> SessionResolver:
    """The place of a turn in which *text* was answered with itself."""
    talk = Conversation(text, [], "", before, text)

    async def turn() -> SessionResolver:
        place = await resolve_session(transcripts, identity, talk)
        await place.remember(Outcome(answer={"content": text}))
        return place

    return asyncio.run(turn())


@pytest.mark.parametrize(("identity", "goes_on"), [(ANN, True), (NOBODY, False)])
def test_what_was_said_shows_the_session_of_a_caller_who_is_known(identity: Identity, goes_on: bool) -> None:
    transcripts = Transcripts()
    first = said(transcripts, identity, text="hi")
    second = said(
        transcripts, identity, ChatMessage("user", "hi"), ChatMessage("assistant", "hi"), text="and"
    )
    assert first.new
    assert second.new is not goes_on
    assert (second.session_id == first.session_id) is goes_on
    assert bool(transcripts.known) is goes_on
