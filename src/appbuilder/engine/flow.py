"""One turn as one flow of steps, for every driver.

:func:`flow` decides what follows what and says with each step what is to be done; a driver does it, in a
thread (:mod:`appbuilder.engine.driver`) or on an event loop (:mod:`appbuilder.engine.async_driver`), and
hands back what came of it.
"""

from __future__ import annotations

from collections.abc import Generator
from enum import Enum
from typing import Any, TypeAlias

from appbuilder.core.message import AsyncContentStream, ContentStream
from appbuilder.engine.machine import Attempt, Begun, Commit, Ended, Event, FirstPiece, Pump
from appbuilder.engine.turn import Turn
from appbuilder.logs import logger


class Do(Enum):
    """What a driver has to do; it hands back what is named here, or the error."""

    ACQUIRE = "wait for the session"
    CALL = "call the component: what it returned"
    FIRST = "open the stream it returned and publish the first chunk: FirstPiece or Ended"
    REST = "publish the other chunks: Ended or Cut"
    CLOSE = "close the stream"


Step: TypeAlias = Do | Attempt | Commit
"""The delay of an ``Attempt`` is to be waited for, a ``Commit`` to be written with :meth:`Turn.commit`."""
Flow: TypeAlias = Generator[Step, Any, None]
_CLOSE_FAILED = "request %s: the component failed while it was closed"


def flow(turn: Turn, *, defers_commits: bool) -> Flow:
    """The steps of *turn*; where one raises, the error is to be thrown in.

    :param defers_commits: the turn may end in another thread, after the last step.
    """
    event: Event = Begun()
    is_open = False
    try:
        yield Do.ACQUIRE
    except BaseException as error:  # noqa: BLE001 - whatever ends the wait, a kill too, ends the turn
        event = turn.failed(error, iterating=False)
    action = turn.advance(event)
    while isinstance(action, (Attempt, Pump)):
        try:
            if isinstance(action, Attempt):
                if action.delay:
                    turn.discard()
                    yield action
                turn.token.raise_if_cancelled()
                turn.begin_attempt()
                content = turn.accept((yield Do.CALL)).content
                is_open = isinstance(content, (ContentStream, AsyncContentStream))
                if is_open:
                    event = yield Do.FIRST
                else:
                    event = FirstPiece() if turn.publish_whole() else Ended()
            else:
                event = (yield Do.REST) if is_open else Ended()
        except BaseException as error:  # noqa: BLE001 - a SystemExit of a component must not end the server
            event = turn.failed(error, iterating=is_open)
        action = turn.advance(event)
        if is_open and not isinstance(action, Pump):
            is_open = False
            # Before the commit: what the component appends while its stream is closed belongs to the turn.
            try:
                yield Do.CLOSE
            except BaseException:  # noqa: BLE001 - how the turn ends is decided already
                logger.exception(_CLOSE_FAILED, turn.request.request_id)
    if action is not None and not (defers_commits and turn.is_resolved and turn.commit_later(action)):
        yield action
