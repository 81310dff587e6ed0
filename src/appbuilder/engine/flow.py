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
from appbuilder.engine.machine import Attempt, Begun, Commit, Cut, Ended, Event, Failed, FirstPiece, Pump
from appbuilder.engine.turn import Turn
from appbuilder.logs import logger


class Do(Enum):
    """What a driver has to do; it hands back what is named here, or the error."""

    ACQUIRE = "wait for the session"
    CALL = "call the component: what it returned"
    FIRST = "open the stream it returned and publish the first chunk: FirstPiece or Ended"
    REST = "publish the other chunks: Ended or Cut"
    CLOSE = "close the stream, if one is open"


Step: TypeAlias = Do | Attempt | Commit
"""The delay of an ``Attempt`` is to be waited for, a ``Commit`` to be written with :meth:`Turn.commit`."""
Flow: TypeAlias = Generator[Step, Any, None]
_Part: TypeAlias = Generator[Step, Any, Event]


def flow(turn: Turn, *, commits_later: bool) -> Flow:
    """The steps of *turn*; where one raises, the error is to be thrown in.

    :param commits_later: the turn may end in another thread, after the last step.
    """
    event: Event = Begun()
    try:
        yield Do.ACQUIRE
    except BaseException as error:  # noqa: BLE001 - whatever ends the wait, a kill too, ends the turn
        event = turn.failed(error, iterating=False)
    while isinstance(action := turn.advance(event), (Attempt, Pump)):
        event = yield from _attempt(turn, action) if isinstance(action, Attempt) else _pieces(turn, Do.REST)
        if isinstance(event, Failed):
            yield from _closed(turn)
    # Before the commit: what the component appends while its stream is closed belongs to the turn.
    # And where there is none, because a shutdown has ended the turn meanwhile.
    yield from _closed(turn)
    if action is not None and not (commits_later and turn.is_settled and turn.commit_later(action)):
        yield action


def resume(steps: Flow, result: Any = None, error: BaseException | None = None) -> Step | None:
    """What follows a step that gave *result* or raised *error*; None: nothing does."""
    try:
        return steps.send(result) if error is None else steps.throw(error)
    except StopIteration:
        return None


def _attempt(turn: Turn, action: Attempt) -> _Part:
    if action.delay:
        turn.discard()
        yield action
    if turn.token.cancelled:
        return Cut()
    turn.begin_attempt()
    try:
        content = turn.accept((yield Do.CALL)).content
        if not isinstance(content, (ContentStream, AsyncContentStream)):
            return FirstPiece() if turn.whole_as_piece() else Ended()
    except BaseException as error:  # noqa: BLE001 - a SystemExit of a component must not end the server
        return turn.failed(error, iterating=False)
    return (yield from _pieces(turn, Do.FIRST))


def _pieces(turn: Turn, step: Do) -> _Part:
    try:
        return (yield step)  # type: ignore[no-any-return]
    except BaseException as error:  # noqa: BLE001 - as above
        return turn.failed(error, iterating=True)


def _closed(turn: Turn) -> Flow:
    try:
        yield Do.CLOSE
    except BaseException:  # noqa: BLE001 - how the turn ends is decided already
        request_id = turn.request.request_id
        logger.exception("request %s: the component failed while it was closed", request_id)
