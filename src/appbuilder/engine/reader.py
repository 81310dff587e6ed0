"""Reading a run's log on an event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from appbuilder.core.steps import Step
from appbuilder.engine.log import Outcome, RunLog

MOST_IN_ONE_WRITE = 1000
"""Pieces; so that what a slow reader has not taken yet stands in the log alone, not encoded as well."""
LARGEST_WRITE = 256 * 1024
"""Characters, about, for the same reason."""
_LARGE = 1024
"""What a piece that is no text counts for."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What came since the batch before: pieces and steps in order, and the outcome with the last."""

    pieces: Sequence[Any]
    steps: Sequence[Step]
    outcome: Outcome | None


async def batches(log: RunLog) -> AsyncIterator[Batch]:
    """All of *log* from its beginning, as it comes; what waits together comes together."""
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def wake() -> None:
        # Where the loop is closed nobody reads any more, and the run must not fail for it.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(woken.set)

    seen_pieces = seen_steps = 0
    while True:
        log.subscribe(wake)
        try:
            pieces, outcome = log.read(seen_pieces)
            steps = log.steps[seen_steps:]
            if not pieces and not steps and outcome is None:
                await woken.wait()
                woken.clear()
                continue
        finally:
            log.unsubscribe(wake)
        seen_pieces += len(pieces)
        seen_steps += len(steps)
        yield Batch(pieces, steps, outcome)
        if outcome is not None:
            return


def written_together(waiting: Sequence[Any]) -> Sequence[Any]:
    """The first of the pieces that wait, as many as leave as one write; one at least."""
    pieces = waiting if len(waiting) <= MOST_IN_ONE_WRITE else waiting[:MOST_IN_ONE_WRITE]
    size = 0
    for number, piece in enumerate(pieces):
        size += len(piece) if isinstance(piece, (str, bytes)) else _LARGE
        if size > LARGEST_WRITE:
            return pieces[: max(1, number)]
    return pieces
