"""Showing a run in a browser while it goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appbuilder import clock
from appbuilder.engine.engine import Run
from appbuilder.engine.log import Outcome
from appbuilder.engine.reader import LogReader
from appbuilder.errors import AppBuilderError, is_stop
from appbuilder.serve.page import page_steps
from appbuilder.serve.page.composer import Attached, Change, Changed, Composer, Done, Grown, Part, Removed
from appbuilder.serve.page.page_steps import ItemIds

Emit = Callable[[str, Any], Awaitable[None]]
"""Sends an event of Chainlit's protocol to the browser; does nothing where that is gone."""
Explain = Callable[[AppBuilderError], dict[str, Any]]
"""What a reader is notified of an error; see :func:`appbuilder.serve.page.page_steps.error_line`."""


@dataclass(frozen=True, slots=True)
class LiveTurn:
    """A turn under way: who asked what, and the run that answers."""

    owner: str
    words: str
    began: datetime
    turn_id: str
    run: Run


class Screen:
    """One browser that watches one turn, from its beginning whenever it came."""

    def __init__(self, emit: Emit, place: ItemIds, explain: Explain) -> None:
        self._emit = emit
        self._place = place
        self._explain = explain
        self._composer = Composer()

    async def show(self, live: LiveTurn) -> None:
        """Shows the turn until it has ended."""
        place = self._place
        await self._emit("new_message", page_steps.said(place, live.words, live.began))
        await self._emit("new_message", page_steps.run(place, live.began, None))
        async with aclosing(LogReader(live.run.log).batches()) as batches:
            async for batch in batches:
                for change in self._composer.feed(batch.events()):
                    await self._show_change(change)
                if batch.outcome is not None:
                    await self._show_end(batch.outcome)
        await self._emit("update_message", page_steps.run(place, live.began, clock.now()))

    async def refuse(self, words: str, error: AppBuilderError) -> None:
        """Shows that there is no run: it was refused."""
        now = clock.now()
        await self._emit("new_message", page_steps.said(self._place, words, now))
        # The page shows nothing whose parent it has not.
        await self._emit("new_message", page_steps.run(self._place, now, now))
        await self._emit("new_message", page_steps.failure(self._place, self._line(error), now))

    async def _show_change(self, change: Change) -> None:
        if isinstance(change, Grown):
            token = {"id": page_steps.part_id(self._place, change.part.number), "token": change.text,
                     "isSequence": False, "isInput": False}
            await self._emit("stream_token", token)
        elif isinstance(change, Changed):
            await self._show_part(change.part, streaming=change.part.grows)
        elif isinstance(change, Done):
            await self._emit("new_message", page_steps.done(self._place, change, clock.now()))
        elif isinstance(change, Removed):
            await self._emit("delete_message", {"id": page_steps.item_id(self._place, change.item)})
        elif isinstance(change, Attached):
            await self._emit("element", page_steps.element(self._place, change.part.number, change.element))

    async def _show_part(self, part: Part, *, streaming: bool = False) -> None:
        now = clock.now()
        if part.fold:
            step = page_steps.folded(self._place, part.number, part.fold, part.markdown, now)
        else:
            step = page_steps.part(self._place, part.number, part.markdown, now, streaming=streaming)
        await self._emit("stream_start" if streaming else "new_message", step)

    async def _show_end(self, outcome: Outcome) -> None:
        changes = self._composer.end()
        stopped = outcome.error is not None and is_stop(outcome.error)
        if stopped:
            changes += self._composer.close(page_steps.stopped_line(self._place.language))
        elif line := page_steps.cut_line(self._place.language, outcome.answer):
            changes += self._composer.close(line)
        for change in changes:
            await self._show_change(change)
        parts = self._composer.parts
        for part in parts:
            if part.grows:
                await self._show_part(part)
        if outcome.error is not None and not stopped:
            failure = page_steps.failure(self._place, self._line(outcome.error), clock.now())
            await self._emit("new_message", failure)
        elif outcome.answer is not None and not parts:
            await self._show_part(Part(0, ""))

    def _line(self, error: AppBuilderError) -> str:
        return page_steps.error_line(self._place, self._explain(error))
