"""Beginning a turn, whichever door it came in by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from sys import getsizeof
from typing import Any

from appbuilder import telemetry
from appbuilder.engine.engine import Run
from appbuilder.engine.keeping import Keeping
from appbuilder.engine.request import Guard, TurnRequest
from appbuilder.errors import AppBuilderError, Audience, InvalidRequest, SessionBusy
from appbuilder.serve.asgi.limits import Limits, charged_to
from appbuilder.serve.asgi.ownership import guard_for, told_user
from appbuilder.serve.asgi.service import Service, audience
from appbuilder.serve.asking import Identity
from appbuilder.serve.pools import TURNS
from appbuilder.wire.chat import ON_DISCONNECT_HEADER
from appbuilder.wire.problems import explained

_CHOICES = ("cancel", "continue")
NO_NOTE: Mapping[str, Any] = {}


async def begin(
    service: Service,
    identity: Identity,
    turn: TurnRequest,
    on_disconnect: str | None = None,
    note: Mapping[str, Any] = NO_NOTE,
) -> Run:
    """Starts a turn for somebody, if the turn's own guard lets it too.

    :param on_disconnect: ``cancel`` or ``continue``, for this turn; None: as the settings say.
    :param note: what is to be stored with the turn, see :class:`Keeping`.
    :raises RateLimited, Forbidden: the limits, or the program's own hook, refuse it.
    :raises NotFound: the session is somebody else's; as a rule the turn itself fails with it.
    :raises InvalidRequest, Overloaded, Draining, SessionBusy: as :meth:`Engine.start`.
    """
    if on_disconnect is not None and on_disconnect not in _CHOICES:
        raise InvalidRequest(f"{ON_DISCONNECT_HEADER} must be cancel or continue.")
    guard = _both(guard_for(service, identity, turn.session_id, new=turn.new_session), turn.guard)
    limits = service.limits
    if limits.any:
        await _check(limits, identity, turn, guard)
    texts, reader = service.settings.history, audience(service.settings, identity)
    if turn.keep is None:
        # The run's id is the id of its turn.
        keep = Keeping(turn.run_id, identity.owner, _EXPLAINED[reader], texts, note)
    else:
        keep = replace(turn.keep, texts=texts, explain=_EXPLAINED[reader])
    engine = service.engine()
    own = None if turn.account is not None else engine.budget.account(charged_to(identity))
    request = turn.admitted(
        guard=guard,
        keep=keep,
        user_id=told_user(service, identity, turn.user_id),
        account=turn.account or own,
        audience=reader,
    )
    try:
        if own is not None and isinstance(turn.message, str):
            own.take(2 * getsizeof(turn.message))
        return engine.start(request, on_disconnect=on_disconnect)
    except SessionBusy:
        if guard is not None:
            # A caller that may not use the session must not learn that it is busy.
            await TURNS.run_for(charged_to(identity), guard)
        raise
    finally:
        if own is not None:
            own.let_go()


def _both(owners: Guard | None, doors: Guard | None) -> Guard | None:
    if owners is None or doors is None:
        return owners or doors

    def guard() -> bool:
        known = owners()  # first: what the door says is for those alone who may use the session
        return doors() and known

    return guard


async def _check(limits: Limits, identity: Identity, turn: TurnRequest, guard: Guard | None) -> None:
    try:
        await limits.check(identity, turn, guard)
    except AppBuilderError as error:
        telemetry.refuse(turn.door, error)
        raise


_EXPLAINED = {each: partial(explained, audience=each) for each in Audience}
