"""Beginning a turn, whichever protocol it came in by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from sys import getsizeof
from typing import Any

from appbuilder import telemetry
from appbuilder.engine.engine import Run
from appbuilder.engine.persistence import RetentionPolicy
from appbuilder.engine.turn_request import SessionCheck, TurnRequest
from appbuilder.errors import AppBuilderError, Audience, InvalidRequest, SessionBusy
from appbuilder.protocols.chat import ON_DISCONNECT_HEADER
from appbuilder.protocols.errors import explained
from appbuilder.serve.auth.authorization import reported_user, session_check
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.http.rate_limits import Limits, limit_key
from appbuilder.serve.http.state import Service, audience
from appbuilder.serve.http.thread_pools import TURNS

_CHOICES = ("cancel", "continue")
NO_NOTE: Mapping[str, Any] = {}


async def start_run(
    service: Service,
    identity: Identity,
    turn: TurnRequest,
    on_disconnect: str | None = None,
    note: Mapping[str, Any] = NO_NOTE,
) -> Run:
    """Starts a turn for a caller, if the turn's own check allows it, too.

    :param on_disconnect: ``cancel`` or ``continue``, for this turn; None: as the settings say.
    :param note: what is to be stored with the turn, see :class:`RetentionPolicy`.
    :raises RateLimited, Forbidden: the limits, or the program's own hook, refuse it.
    :raises NotFound: the session is another owner's; as a rule the turn itself fails with it.
    :raises InvalidRequest, Overloaded, Draining, SessionBusy: as :meth:`Engine.start`.
    """
    if on_disconnect is not None and on_disconnect not in _CHOICES:
        raise InvalidRequest(f"{ON_DISCONNECT_HEADER} must be cancel or continue.")
    guard = _both(session_check(service, identity, turn.session_id, new=turn.new_session), turn.guard)
    limits = service.limits
    if limits.any:
        await _check(limits, identity, turn, guard)
    texts, reader = service.settings.history, audience(service.settings, identity)
    if turn.keep is None:
        # The run's id is the id of its turn.
        keep = RetentionPolicy(turn.run_id, identity.owner, _EXPLAINED[reader], texts, note)
    else:
        keep = replace(turn.keep, texts=texts, explain=_EXPLAINED[reader])
    engine = service.engine()
    own = None if turn.account is not None else engine.budget.account(limit_key(identity))
    request = turn.admitted(
        guard=guard,
        keep=keep,
        user_id=reported_user(service, identity, turn.user_id),
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
            await TURNS.run_for(limit_key(identity), guard)
        raise
    finally:
        if own is not None:
            own.release_account()


def _both(owners: SessionCheck | None, routes: SessionCheck | None) -> SessionCheck | None:
    if owners is None or routes is None:
        return owners or routes

    def guard() -> bool:
        known = owners()  # first: what the protocol's check says is for those alone who may use the session
        return routes() and known

    return guard


async def _check(limits: Limits, identity: Identity, turn: TurnRequest, guard: SessionCheck | None) -> None:
    try:
        await limits.check(identity, turn, guard)
    except AppBuilderError as error:
        telemetry.refuse(turn.door, error)
        raise


_EXPLAINED = {each: partial(explained, audience=each) for each in Audience}
