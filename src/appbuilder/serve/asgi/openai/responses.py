"""POST /v1/responses, and GET /v1/responses/{id} from what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any

from appbuilder import jsontext
from appbuilder.core.store import COMPLETE, INCOMPLETE
from appbuilder.engine.engine import Run
from appbuilder.engine.log import Outcome
from appbuilder.engine.request import Guard
from appbuilder.errors import Draining, TurnCancelled, TurnTimeout
from appbuilder.serve.asgi.http import in_thread
from appbuilder.serve.asgi.openai.conversing import (
    Asked,
    converse,
    now_in_seconds,
    read_request,
    turn_id_of,
)
from appbuilder.serve.asgi.ownership import may_continue, may_see
from appbuilder.serve.asgi.service import Service
from appbuilder.serve.asking import Identity, Receive, Scope, Send
from appbuilder.wire.openai.response_events import ResponseEncoder
from appbuilder.wire.openai.responses import (
    Response,
    ResponseCall,
    no_response,
    not_newest,
    read,
    response_id,
    turn_of,
)
from appbuilder.wire.openai.usage import usage_of
from appbuilder.wire.problems import problem
from appbuilder.wire.transcript import Exchange, exchanges

_NEWEST_ROWS = 200
"""Rows in which the newest turn of a session is, with what its component keeps of a turn."""
_ALL_ROWS = 10_000


class CreateResponse:
    """The endpoint, an ASGI application; errors are raised."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        identity, call = await read_request(service, scope, receive, read)
        asked = Asked(call.talk, call.args, call.stream, call.session_id, forget=not call.store)
        if call.previous is not None:
            session_id = await in_thread(_session_of, service, identity, call.previous)
            newest = _newest(service, session_id, call.previous)
            asked = replace(asked, session_id=session_id, guard=newest)

        def answering(run: Run) -> _Answering:
            return _Answering(_response(service, call, run))

        await converse(service, identity, asked, answering, scope, receive, send)


async def read_response(service: Service, identity: Identity, named: str) -> dict[str, Any]:
    """A stored response as an object.

    :raises NotFound: there is none of this id, or it is somebody else's.
    """
    turn_id = turn_of(named)
    session_id, turn = await in_thread(_stored, service, identity, turn_id)
    created = int(turn.created_at.replace(tzinfo=UTC).timestamp())
    response = Response(named, created, service.name, session_id, True, {})
    usage = usage_of(turn.usage)
    if turn.state == COMPLETE:
        return response.members("completed", content=turn.answer, usage=usage)
    if turn.state == INCOMPLETE:
        return response.members("incomplete", content=turn.answer, usage=usage)
    failed = {"code": "server_error", "message": "The component failed."}
    return response.members("failed", error=failed)


def _session_of(service: Service, identity: Identity, turn_id: str) -> str:
    """The session of a turn that is to be gone on from.

    :raises NotFound: there is none, or it is somebody else's.
    """
    catalogue = service.store.catalogue()
    session_id = catalogue.conversation_of(turn_id)
    found = None if session_id is None else catalogue.find(session_id)
    if found is None or not may_continue(identity, found.owner):
        raise no_response(response_id(turn_id), "previous_response_id")
    return found.session_id


def _newest(service: Service, session_id: str, turn_id: str) -> Guard:
    """Refuses where the session went on after this turn, which others may bring about meanwhile."""

    def guard() -> bool:
        turns = exchanges(service.store.catalogue().rows(session_id, _NEWEST_ROWS))
        if not turns or turns[-1].id != turn_id:
            raise not_newest()
        return False

    return guard


def _stored(service: Service, identity: Identity, turn_id: str) -> tuple[str, Exchange]:
    catalogue = service.store.catalogue()
    session_id = catalogue.conversation_of(turn_id)
    found = None if session_id is None else catalogue.find(session_id)
    if found is not None and may_see(identity, found.owner):
        for turn in exchanges(catalogue.rows(found.session_id, _ALL_ROWS)):
            if turn.id == turn_id:
                return found.session_id, turn
    raise no_response(response_id(turn_id))


def _response(service: Service, call: ResponseCall, run: Run) -> Response:
    return Response(
        id=response_id(turn_id_of(run)),
        created=now_in_seconds(),
        model=service.name,
        session_id=run.request.session_id,
        store=call.store,
        told_again=call.told_again,
    )


class _Answering:
    def __init__(self, response: Response) -> None:
        self._response = response

    def stream(self) -> _Events:
        return _Events(ResponseEncoder(self._response))

    def whole(self, answer: Mapping[str, Any]) -> bytes:
        usage = usage_of(answer.get("token_usage"))
        return jsontext.dumps(
            self._response.members("completed", content=answer.get("content", ""), usage=usage)
        )


class _Events:
    """The events of one stream."""

    def __init__(self, encoder: ResponseEncoder) -> None:
        self._encoder = encoder

    def pieces(self, pieces: Sequence[Any]) -> bytes:
        return self._encoder.pieces(pieces)

    def last(self, outcome: Outcome) -> bytes:
        if outcome.answer is not None:
            return self._encoder.completed(usage_of(outcome.answer.get("token_usage")))
        error = outcome.error
        assert error is not None
        stopped = isinstance(error, TurnCancelled) and not isinstance(error, TurnTimeout)
        if stopped or isinstance(error, Draining):
            return self._encoder.incomplete()
        return self._encoder.failed(problem(error))
