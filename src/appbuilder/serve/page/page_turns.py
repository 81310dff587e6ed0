"""The page's turns: asking, watching, stopping, and watching again after a reload."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from appbuilder import clock
from appbuilder.core.attachment import Attachment
from appbuilder.engine.engine import Engine, Run
from appbuilder.engine.persistence import RetentionPolicy
from appbuilder.engine.reader import ended
from appbuilder.engine.turn_request import TurnRequest
from appbuilder.errors import AppBuilderError, Audience, InvalidRequest, PayloadTooLarge, TurnCancelled
from appbuilder.ids import is_new_id, new_row_id
from appbuilder.jsontext import clean, dumps
from appbuilder.protocols.errors import explained
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.page.page_requests import MOST_BODY, MOST_FILES
from appbuilder.serve.page.page_steps import ItemIds
from appbuilder.serve.page.screen import LiveTurn, Screen
from appbuilder.serve.page.tabs import Tabs

Show = Callable[[LiveTurn, bool], Awaitable[None]]
"""Shows a turn; the second argument is whether it waited for one that is shown before it."""
Begin = Callable[[Identity, TurnRequest], Awaitable[Run]]
"""Starts a caller's turn, which goes on without a reader; raises what :meth:`Engine.start` does, and more."""

_LONGEST_REFUSED = 1000
"""Characters of a refused message that are shown."""
STOP_WAIT = 5.0
"""Seconds a deletion waits for the turns of its conversation to end."""


class PageTurns:
    """The turns of one page. To be used on the page's event loop.

    :param engine: gives this process's engine.
    :param author: the assistant's name.
    :param debug: shows tracebacks.
    :param steps: shows what a run does besides answering.
    :param begin: begins a turn; None: the engine does.
    :param limit: bytes of a message as JSON.
    :param tabs: the browser pages that are open.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        author: str,
        *,
        debug: bool = False,
        steps: bool = False,
        begin: Begin | None = None,
        limit: int = MOST_BODY,
        tabs: Tabs | None = None,
    ) -> None:
        self.author = author
        self._engine = engine
        self._begin = begin or self._begin_at_once
        self._debug = debug
        self._steps = steps
        self._limit = limit
        self.tabs = tabs or Tabs({})
        self._live: dict[str, list[LiveTurn]] = {}
        self._watches: WeakKeyDictionary[Any, _Watch] = WeakKeyDictionary()
        """By Chainlit's session, which is one browser's page: what shows the turns there."""

    async def ask(self, session: Any, identity: Identity, language: str, message: Any) -> None:
        """Runs a turn and shows it in the browser that asked; returns when the conversation is at rest.

        :param session: Chainlit's; its ``thread_id`` is the session's id.
        :param message: what the user sent; its ``id`` becomes the request's.
        """
        words = message.content
        place = ItemIds(session.thread_id, str(message.id), new_row_id(), self.author, language)
        try:
            live = await self._start(place, identity, words, attachments(message))
        except AppBuilderError as error:
            await self._screen(session, place, Audience.STRANGER).refuse(_beginning(words), error)
            return
        self._live.setdefault(place.session_id, []).append(live)
        forgotten = asyncio.create_task(self._forget_when_ended(place.session_id, live))
        self._show(session, language, live)
        for other in self.tabs.others(session):
            self._show(other, other.language, live)
        await asyncio.shield(forgotten)
        while others := self.live(place.session_id):
            await _end_of(others[0])
            await asyncio.sleep(0)  # it may have ended and not be forgotten yet

    async def refuse_long(self, session: Any, language: str, message_id: str, words: str) -> bool:
        """Whether a message is over the limit; the browser is notified. Chainlit would send it back first."""
        try:
            self._check_length(words)
        except PayloadTooLarge as error:
            place = ItemIds(session.thread_id, message_id, new_row_id(), self.author, language)
            await self._screen(session, place, Audience.STRANGER).refuse(_beginning(words), error)
            return True
        return False

    def _check_length(self, words: str) -> None:
        if len(words) * 6 + 2 > self._limit and len(dumps(words)) > self._limit:
            raise PayloadTooLarge(f"A message has at most {self._limit} bytes.")

    def live(self, session_id: str) -> list[LiveTurn]:
        """The conversation's turns under way, in the order they were asked for."""
        return list(self._live.get(session_id, ()))

    def begun_by(self, owner: str) -> list[LiveTurn]:
        """The turns under way that this one asked for, the newest first."""
        mine = [turn for turns in self._live.values() for turn in turns if turn.owner == owner]
        return sorted(mine, key=lambda turn: turn.began, reverse=True)

    def watch(self, session: Any, language: str) -> None:
        """Shows the conversation's turns under way in a browser that came (back) to it, from their beginning.

        Where it comes back, the turn it saw last is shown again: its end may have been lost.
        """
        before = self._watches.pop(session, None)
        last = before.stop() if before is not None else None
        turns = self.live(session.thread_id)
        if last is not None and last not in turns and last.run.request.session_id == session.thread_id:
            turns.insert(0, last)
        if turns:
            self._watches[session] = _Watch(self._shower(session, language), turns)

    def _show(self, session: Any, language: str, live: LiveTurn) -> None:
        """Shows a turn that this browser asked for, after those it watches already."""
        watch = self._watches.get(session)
        if watch is None or not watch.add(live):
            self._watches[session] = _Watch(self._shower(session, language), [live])

    def _shower(self, session: Any, language: str) -> Show:
        async def show(live: LiveTurn, waited: bool) -> None:
            request = live.run.request
            place = ItemIds(request.session_id, request.request_id, live.turn_id, self.author, language)
            await session.emit("task_start", {})
            if waited:
                # The browser has shown the question when it was sent, above what came before it.
                await session.emit("delete_message", {"id": request.request_id})
            await self._screen(session, place, request.audience).show(live)
            await session.emit("task_end", {})

        return show

    async def stop(self, session_id: str) -> None:
        """Stops the conversation's turns; what was answered so far is kept and marked."""
        # Those that wait first: the end of the one that runs must not begin them.
        for live in reversed(self.live(session_id)):
            # In a thread: it closes connections.
            await asyncio.to_thread(live.run.cancel, TurnCancelled("The turn was stopped."))

    async def stop_and_wait(self, session_id: str) -> None:
        """Stops the conversation's turns and waits until they have ended, a few seconds at most."""
        await self.stop(session_id)
        for live in self.live(session_id):
            await asyncio.to_thread(live.run.log.wait, 2**62, STOP_WAIT)

    async def _start(
        self, place: ItemIds, identity: Identity, words: Any, files: Sequence[Attachment]
    ) -> LiveTurn:
        if not is_new_id(place.request_id) or not isinstance(words, str) or clean(words) != words:
            raise InvalidRequest("The message cannot be read.")
        self._check_length(words)
        if len(files) > MOST_FILES:
            raise InvalidRequest(f"A message has at most {MOST_FILES} files.")
        request = TurnRequest(
            message=words,
            session_id=place.session_id,
            stream=True,
            request_id=place.request_id,
            user_id=identity.name,
            keep=RetentionPolicy(place.turn_id, identity.owner, explained),
            watch=self._steps,
            attachments=files,
            door="page",
        )
        run = await self._begin(identity, request)
        return LiveTurn(identity.owner, words, clock.now(), place.turn_id, run)

    async def _begin_at_once(self, _: Identity, request: TurnRequest) -> Run:
        # A run is a thing of its own: who closes the page finds the answer when he comes back.
        return self._engine().start(request, on_disconnect="continue")

    async def _forget_when_ended(self, session_id: str, live: LiveTurn) -> None:
        await _end_of(live)
        turns = self._live[session_id]
        turns.remove(live)
        if not turns:
            del self._live[session_id]

    def _screen(self, session: Any, place: ItemIds, audience: Audience) -> Screen:
        async def emit(event: str, data: Any) -> None:
            # Looked up again each time: a browser that reconnects gets another.
            await session.emit(event, data)

        return Screen(emit, place, lambda error: self._explain(error, audience))

    def _explain(self, error: AppBuilderError, audience: Audience) -> dict[str, Any]:
        return explained(error, debug=self._debug, audience=audience)


def _beginning(words: Any) -> Any:
    """What is shown of a refused message."""
    long = isinstance(words, str) and len(words) > _LONGEST_REFUSED
    return f"{words[:_LONGEST_REFUSED]}…" if long else words


def attachments(message: Any) -> list[Attachment]:
    """The files that Chainlit has taken for this message."""
    return [
        Attachment(Path(element.path), _last_part(element.name), element.mime or "application/octet-stream")
        for element in getattr(message, "elements", ())
        if element.path
    ]


def _last_part(name: str) -> str:
    """A file's name without folders, which some client may have put before it."""
    return clean(name).replace("\\", "/").rpartition("/")[2] or "file"


class _Watch:
    """Shows turns in one browser, one after the other."""

    def __init__(self, show: Show, turns: Sequence[LiveTurn]) -> None:
        self._pending = deque(turns)
        self._last: LiveTurn | None = None
        self._task: asyncio.Task[None] | None = asyncio.create_task(self._run(show))

    def add(self, live: LiveTurn) -> bool:
        """Shows *live* too, in its turn; False: this watch has ended."""
        if self._task is None:
            return False
        self._pending.append(live)
        return True

    def stop(self) -> LiveTurn | None:
        """Shows nothing more; returns the turn that was shown last."""
        if self._task is not None:
            self._task.cancel()
        return self._last

    async def _run(self, show: Show) -> None:
        waited = False
        try:
            while self._pending:
                self._last = self._pending.popleft()
                await show(self._last, waited)
                waited = True
        finally:
            self._task = None  # and with it what held the browser's session


async def _end_of(live: LiveTurn) -> None:
    await ended(live.run.log)
