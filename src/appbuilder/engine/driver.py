"""Drives a turn on a thread (or a greenlet): runs the component, owns its iterator, closes it.

The iterator is stepped, and closed, in this thread only and in the turn's own copied context: a generator
cannot be closed while another thread runs it, and a ``set`` inside it must not leak into the server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from appbuilder import clock
from appbuilder.cooperation import before_blocking, uses_greenlets
from appbuilder.core.message import AsyncContentStream
from appbuilder.engine.flow import Do, Step, flow
from appbuilder.engine.machine import Commit, Cut, Ended, Event, FirstPiece
from appbuilder.engine.pacing import wait_for_readers
from appbuilder.engine.threads.event_loop import iterate
from appbuilder.engine.turn import Turn

YIELD_EVERY = 0.01
"""Seconds a fast iterator may run before others (readers, under gevent the whole process) get their turn."""


class Driver:
    """Drives one turn to its end; call it in the thread that may block."""

    def __init__(
        self, turn: Turn, run: Callable[..., Any], session_wait: float, *, defers_commits: bool = False
    ) -> None:
        """:param defers_commits: the turn may end in another thread, after the call has returned."""
        self._turn = turn
        self._steps = flow(turn, defers_commits=defers_commits)
        self._run = run
        self._session_wait = session_wait
        self._iterator: Iterator[Any] | None = None

    def __call__(self) -> None:
        """Returns when the turn has ended; raises nothing."""
        steps = self._steps
        step = next(steps)
        try:
            while True:
                try:
                    result = self._do(step)
                except BaseException as error:  # noqa: BLE001 - the flow decides what it means
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration:
            return

    def _do(self, step: Step) -> Any:
        turn = self._turn
        if step is Do.ACQUIRE:
            turn.acquire(self._session_wait)
        elif step is Do.CALL:
            return turn.context.run(self._run, **turn.arguments())
        elif isinstance(step, Commit):
            turn.commit(step)
        elif step is Do.FIRST:
            return self._first()
        elif step is Do.REST:
            return self._rest()
        elif step is Do.CLOSE:
            turn.context.run(self._iterator.close)  # type: ignore[union-attr]
        else:
            turn.token.sleep(step.delay)
        return None

    def _first(self) -> Event:
        turn = self._turn
        assert turn.answer is not None
        content = turn.answer.content
        is_async = isinstance(content, AsyncContentStream)
        self._iterator = iterator = iterate(content, turn.context) if is_async else content
        try:
            while not turn.log.has_spoken:
                turn.publish(turn.context.run(next, iterator))
                if turn.token.cancelled:
                    return Cut()
        except StopIteration:
            return Ended()
        return FirstPiece()

    def _rest(self) -> Event:
        turn, iterator = self._turn, self._iterator
        assert iterator is not None
        before_blocking()  # a stream has a thread of its own
        publish, run, token = turn.publish, turn.context.run, turn.token
        time.sleep(0)  # the first piece goes out before the second is made
        others_wait = uses_greenlets()
        last = clock.monotonic()
        pause = last + YIELD_EVERY
        try:
            while not token.cancelled:
                if publish(run(next, iterator)):
                    wait_for_readers(turn)
                now = clock.monotonic()
                if now > pause:
                    # A thread whose step took that long has waited, as in every paced stream, or was
                    # interrupted: queueing once more for the interpreter's lock would double its work.
                    if others_wait or now - last < YIELD_EVERY:
                        time.sleep(0)
                    pause = now + YIELD_EVERY
                last = now
        except StopIteration:
            return Ended()
        return Cut()
