"""What the page's side bar lists while a first turn ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from tests.unit.test_page_turns import ANN, BOB, Said, Session, held, on_a_loop, turns_of

from appbuilder.serve.page.user_conversations import UserConversations


class Meanwhile:
    """A catalogue; *happens* the first time something was read of it, before that is given back."""

    def __init__(self, repository: Any, happens: Callable[[], None]) -> None:
        self._repository = repository
        self._happens = happens
        self._first = True

    def page(self, *args: Any, **kwargs: Any) -> Any:
        return self._read(self._repository.page(*args, **kwargs))

    def find(self, session_id: str) -> Any:
        return self._read(self._repository.find(session_id))

    def _read(self, found: Any) -> Any:
        if self._first:
            self._first = False
            self._happens()
        return found


def listed_while_it_ends(look: Callable[[UserConversations], Any]) -> Any:
    """What *look* gives where the first turn of "thread" ends after the first read."""
    gate, over = threading.Event(), threading.Event()
    turns, _, store = turns_of(held(gate))
    found: list[Any] = []

    def end_the_turn() -> None:
        gate.set()
        assert over.wait(15)

    async def ask() -> None:
        await turns.ask(Session(), ANN, "en", Said("q"))
        over.set()

    async def work() -> None:
        asked = asyncio.create_task(ask())
        while not turns.live("thread"):
            await asyncio.sleep(0.005)
        repository: Any = Meanwhile(store.repository(), end_the_turn)
        found.append(await look(UserConversations(repository, turns)))
        await asked

    on_a_loop(work)
    return found[0]


def test_a_first_turn_that_ends_while_the_list_is_read_is_listed_once() -> None:
    page = listed_while_it_ends(lambda those: those.page(ANN, search="", limit=20, cursor=None))
    assert [(each.session_id, each.title) for each in page.conversations] == [("thread", "q")]


def test_a_conversation_whose_first_turn_ends_while_it_is_looked_for_is_found() -> None:
    found = listed_while_it_ends(lambda those: those.find(ANN, "thread"))
    assert (found.owner, found.title) == (ANN.owner, "q")


def test_somebody_else_s_is_in_neither() -> None:
    assert listed_while_it_ends(lambda those: those.find(BOB, "thread")) is None
    page = listed_while_it_ends(lambda those: those.page(BOB, search="", limit=20, cursor=None))
    assert page.conversations == []
