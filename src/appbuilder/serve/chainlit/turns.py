"""The page's turns: asking, watching, stopping, and watching again after a reload."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from appbuilder import clock
from appbuilder.engine.engine import Engine
from appbuilder.engine.keeping import Keeping
from appbuilder.engine.reader import batches
from appbuilder.engine.turn import TurnRequest
from appbuilder.errors import AppBuilderError, InvalidRequest, TurnCancelled
from appbuilder.ids import is_new_id, new_id
from appbuilder.jsontext import clean
from appbuilder.serve.chainlit.identity import Identity
from appbuilder.serve.chainlit.screen import LiveTurn, Screen
from appbuilder.serve.chainlit.steps import Place
from appbuilder.wire.problems import problem

STOP_WAIT = 5.0
"""Seconds a deletion waits for the turns of its conversation to end."""


class PageTurns:
    """The turns of one page. To be used on the page's event loop.

    :param engine: gives this process's engine.
    :param author: the assistant's name.
    :param debug: shows model calls and tracebacks.
    """

    def __init__(self, engine: Callable[[], Engine], author: str, *, debug: bool) -> None:
        self.author = author
        self._engine = engine
        self._debug = debug
        self._live: dict[str, list[LiveTurn]] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        """By Chainlit's session, which is one browser's page: what shows the turns there."""

    async def ask(self, session: Any, identity: Identity, language: str, message: Any) -> None:
        """Runs a turn and shows it in the browser that asked; returns when the conversation is at rest.

        :param session: Chainlit's; its ``thread_id`` is the session's id.
        :param message: what the user sent; its ``id`` becomes the request's.
        """
        words = message.content
        place = Place(session.thread_id, str(message.id), new_id(), self.author, language)
        try:
            live = self._start(place, identity, words)
        except AppBuilderError as error:
            await self._screen(session, place).refuse(words, error)
            return
        self._live.setdefault(place.session_id, []).append(live)
        ended = asyncio.create_task(self._forget_when_ended(place.session_id, live))
        self.watch(session, language)
        await ended
        while others := self.live(place.session_id):
            await _end_of(others[0])
            await asyncio.sleep(0)  # it may have ended and not be forgotten yet

    def live(self, session_id: str) -> list[LiveTurn]:
        """The conversation's turns under way, in the order they were asked for."""
        return list(self._live.get(session_id, ()))

    def begun_by(self, owner: str) -> list[LiveTurn]:
        """The turns under way that this one asked for, the newest first."""
        mine = [turn for turns in self._live.values() for turn in turns if turn.owner == owner]
        return sorted(mine, key=lambda turn: turn.began, reverse=True)

    def watch(self, session: Any, language: str) -> None:
        """Shows the conversation's turns under way in a browser, from their beginning.

        To be called when one was begun, and when a browser came (back) to the conversation.
        """
        turns = self.live(session.thread_id)
        if not turns:
            return
        before = self._watches.get(session.id)
        if before is not None:
            before.cancel()
        task = asyncio.create_task(self._show_all(session, language, turns))
        self._watches[session.id] = task
        task.add_done_callback(lambda _: self._watches.pop(session.id, None)
                               if self._watches.get(session.id) is task else None)

    async def _show_all(self, session: Any, language: str, turns: list[LiveTurn]) -> None:
        """:param turns: those under way when it was asked for: by its first step one may be forgotten."""
        shown: set[str] = set()
        while turns:
            request = turns[0].run.request
            place = Place(request.session_id, request.request_id, turns[0].turn_id, self.author, language)
            shown.add(place.turn_id)
            await session.emit("task_start", {})
            await self._screen(session, place).show(turns[0])
            await session.emit("task_end", {})
            later = turns[1:] + self.live(session.thread_id)
            turns = [turn for turn in later if turn.turn_id not in shown]

    async def stop(self, session_id: str) -> None:
        """Stops the conversation's turns; what was answered so far is kept and marked."""
        for live in self.live(session_id):
            # In a thread: it closes connections.
            await asyncio.to_thread(live.run.cancel, TurnCancelled("The turn was stopped."))

    async def stop_and_wait(self, session_id: str) -> None:
        """Stops the conversation's turns and waits until they have ended, a few seconds at most."""
        await self.stop(session_id)
        for live in self.live(session_id):
            await asyncio.to_thread(live.run.log.wait, 2**62, STOP_WAIT)

    def _start(self, place: Place, identity: Identity, words: Any) -> LiveTurn:
        if not is_new_id(place.request_id) or not isinstance(words, str) or clean(words) != words:
            raise InvalidRequest("The message cannot be read.")
        request = TurnRequest(
            message=words,
            session_id=place.session_id,
            stream=True,
            request_id=place.request_id,
            user_id=identity.name,
            keep=Keeping(place.turn_id, identity.owner, self._explain_for_keeping),
            watch=self._debug,
        )
        # A run is a thing of its own: who closes the page finds the answer when he comes back.
        run = self._engine().start(request, on_disconnect="continue")
        return LiveTurn(identity.owner, words, clock.now(), place.turn_id, run)

    async def _forget_when_ended(self, session_id: str, live: LiveTurn) -> None:
        await _end_of(live)
        turns = self._live[session_id]
        turns.remove(live)
        if not turns:
            del self._live[session_id]

    def _screen(self, session: Any, place: Place) -> Screen:
        async def emit(event: str, data: Any) -> None:
            # Looked up anew each time: a browser that reconnects gets another.
            await session.emit(event, data)

        return Screen(emit, place, self._explain)

    def _explain(self, error: AppBuilderError) -> dict[str, Any]:
        what = problem(error, debug=self._debug)
        told = {"kind": type(error).__name__, "text": what.text}
        return told if what.traceback is None else {**told, "traceback": what.traceback}

    def _explain_for_keeping(self, error: AppBuilderError) -> dict[str, Any]:
        return {"kind": type(error).__name__, "text": problem(error).text}


async def _end_of(live: LiveTurn) -> None:
    async for _ in batches(live.run.log):
        pass
