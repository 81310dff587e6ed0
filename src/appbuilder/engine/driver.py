"""Drives a turn on a thread (or a greenlet): runs the component, owns its iterator, closes it.

The iterator is stepped, and closed, in this thread only and in the turn's own copied context: a generator
cannot be closed while another thread runs it, and a ``set`` inside it must not leak into the server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from appbuilder import clock
from appbuilder.blocking import about_to_block, in_greenlets
from appbuilder.core.message import AsyncContentStream, ContentStream
from appbuilder.engine.loop import iterate
from appbuilder.engine.machine import (
    Action,
    Attempt,
    Begun,
    Commit,
    Cut,
    Ended,
    Event,
    Failed,
    FirstPiece,
)
from appbuilder.engine.turn import Turn
from appbuilder.logs import logger

YIELD_EVERY = 0.01
"""Seconds a fast iterator may run before others (readers, under gevent the whole process) get their turn."""

CLOSE_FAILED = "request %s: the component failed while it was closed"


class Driver:
    """Drives one turn to its end; call it in the thread that may block."""

    def __init__(
        self, turn: Turn, run: Callable[..., Any], session_wait: float, *, commits_later: bool = False
    ) -> None:
        """:param commits_later: nobody waits for the call to return: the turn may end in another thread."""
        self._turn = turn
        self._commits_later = commits_later
        self._run = run
        self._session_wait = session_wait
        self._iterator: Iterator[Any] | None = None

    def __call__(self) -> None:
        """Returns when the turn has ended; raises nothing."""
        try:
            action = self._turn.advance(self._acquire())
            while action is not None:
                action = self._perform(action)
        finally:
            # Still open where a shutdown has ended the turn meanwhile.
            self._close()

    def _acquire(self) -> Event:
        turn = self._turn
        try:
            turn.acquire(self._session_wait)
        except BaseException as error:  # noqa: BLE001 - whatever ends the wait, a kill too, ends the turn
            return turn.failed(error, iterating=False)
        return Begun()

    def _perform(self, action: Action) -> Action | None:
        turn = self._turn
        if isinstance(action, Commit):
            # Before the commit: what the component appends while its iterator is closed belongs to the turn.
            self._close()
            return None if self._commits_later and turn.commit_later(action) else turn.commit(action)
        event = self._attempt(action.delay) if isinstance(action, Attempt) else self._pump()
        if isinstance(event, Failed):
            self._close()
        return turn.advance(event)

    def _attempt(self, delay: float) -> Event:
        turn = self._turn
        if delay:
            turn.discard()
            turn.token.sleep(delay)
        if turn.token.cancelled:
            return Cut()
        turn.begin_attempt()
        try:
            content = turn.accept(turn.context.run(self._run, **turn.arguments())).content
            if isinstance(content, AsyncContentStream):
                self._iterator = iterate(content, turn.context)
            elif isinstance(content, ContentStream):
                self._iterator = content
            else:
                return FirstPiece() if turn.whole_as_piece() else Ended()
        except BaseException as error:  # noqa: BLE001 - a SystemExit of a component must not end the server
            return turn.failed(error, iterating=False)
        return self._step_once()

    def _step_once(self) -> Event:
        assert self._iterator is not None
        turn = self._turn
        try:
            turn.publish(turn.context.run(next, self._iterator))
        except StopIteration:
            return Ended()
        except BaseException as error:  # noqa: BLE001 - as above
            return turn.failed(error, iterating=True)
        return FirstPiece()

    def _pump(self) -> Event:
        turn, iterator = self._turn, self._iterator
        if iterator is None:
            return Ended()
        about_to_block()  # a stream has a thread of its own
        publish, run, token = turn.publish, turn.context.run, turn.token
        time.sleep(0)  # the first piece goes out before the second is made
        others_wait = in_greenlets()
        last = clock.monotonic()
        pause = last + YIELD_EVERY
        try:
            while not token.cancelled:
                publish(run(next, iterator))
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
        except BaseException as error:  # noqa: BLE001 - as above
            return turn.failed(error, iterating=True)
        return Cut()

    def _close(self) -> None:
        iterator, self._iterator = self._iterator, None
        if iterator is None:
            return
        try:
            self._turn.context.run(iterator.close)  # type: ignore[attr-defined]
        except BaseException:  # noqa: BLE001 - how the turn ends is decided already
            logger.exception(CLOSE_FAILED, self._turn.request.request_id)
