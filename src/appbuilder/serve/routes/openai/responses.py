"""POST /v1/responses, and GET /v1/responses/{id} from what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from appbuilder import jsontext
from appbuilder.core.message import text_of
from appbuilder.core.store import COMPLETE, INCOMPLETE
from appbuilder.engine.engine import Run
from appbuilder.engine.log import Outcome
from appbuilder.engine.reader import Batch
from appbuilder.errors import Audience, InvalidRequest, is_stop
from appbuilder.protocols.errors import to_problem
from appbuilder.protocols.openai import parameters
from appbuilder.protocols.openai.response_events import ResponseEncoder
from appbuilder.protocols.openai.response_input import ResponseCall, read, resolved
from appbuilder.protocols.openai.response_objects import (
    ECHOED,
    Response,
    answered,
    failed,
    response_id,
    stopped,
    turn_of,
)
from appbuilder.protocols.openai.shown import stored_text, whole_text
from appbuilder.protocols.rest.transcript import turn_view
from appbuilder.serve.auth.request_info import Identity, Receive, Scope, Send
from appbuilder.serve.http.rate_limits import limit_key
from appbuilder.serve.http.state import Service
from appbuilder.serve.http.thread_pools import READS, TURNS
from appbuilder.serve.routes.openai.handler import (
    OpenAICall,
    handle_call,
    now_in_seconds,
    read_request,
    turn_id_of,
)
from appbuilder.serve.routes.openai.previous_response import after_items, after_response, stored_turn

_NOTE = "response"
"""The member of a turn's row that holds what its response says of its request."""


class CreateResponse:
    """The endpoint, an ASGI application; errors are raised."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        identity, call = await read_request(service, scope, receive, read)
        created = now_in_seconds()
        call, asked = await self._asked(identity, call)
        note = {"created_at": created, "model": service.name, "asked": call.asked}
        asked = replace(asked, note={_NOTE: note})

        def answering(run: Run) -> _ResponseObjectWriter:
            return _ResponseObjectWriter(_response(service, call, run, created), run)

        await handle_call(service, identity, asked, answering, scope, receive, send)

    async def _asked(self, identity: Identity, call: ResponseCall) -> tuple[ResponseCall, OpenAICall]:
        """The request with what it refers to, and how it goes on."""
        service, session_id, guard, referred = self._service, call.session_id, None, False
        who = limit_key(identity)
        if call.previous is not None:
            found = await TURNS.run_for(who, after_response, service, identity, call.previous)
            session_id, guard = found.session_id, found.guard
        if call.references:
            items = await TURNS.run_for(who, after_items, service, identity, call.references)
            call = resolved(call, items.texts)
            if session_id is None:
                session_id, guard, referred = items.session_id, items.guard, items.session_id is not None
        return call, OpenAICall(
            call.talk,
            call.args,
            call.stream,
            session_id,
            "responses",
            forget=not call.store,
            guard=guard,
            referred=referred,
        )


async def read_response(service: Service, identity: Identity, named: str) -> dict[str, Any]:
    """A stored response as an object, as it was when it was made.

    :raises NotFound: there is no such response, or it is not for the caller to see.
    """
    session_id, row = await READS.run(stored_turn, service, identity, turn_of(named))
    value: Mapping[str, Any] = row.value if isinstance(row.value, dict) else {}
    said = turn_view([row])
    response = _stored(service, named, session_id, row.created_at, value.get(_NOTE))
    if said.state == COMPLETE:
        took = round((said.milliseconds or 0) / 1000)
        answer = {**(value.get("answer") or {}), "content": stored_text(value)}
        return answered(response, answer, response.created + took)
    content = text_of(stored_text(value)) or None
    if said.state == INCOMPLETE and not said.error:
        return stopped(response, content)
    status = 429 if said.error.get("kind") == "RateLimited" else 500
    return failed(response, content, status, str(said.error.get("text") or "The component failed."))


def _stored(service: Service, named: str, session_id: str, at: datetime, note: Any) -> Response:
    """What the states of a stored response share; of a turn that came another way, as far as it is known.

    :param note: as it was stored with the turn, or as a file says that was imported.
    """
    note = note if isinstance(note, dict) else {}
    asked, created = note.get("asked"), note.get("created_at")
    return Response(
        named,
        created if type(created) is int else int(at.replace(tzinfo=UTC).timestamp()),
        str(note.get("model") or service.name),
        session_id,
        True,
        {name: asked[name] for name in ECHOED if name in asked} if _is_sound(asked) else {},
    )


def _is_sound(asked: Any) -> bool:
    try:
        parameters.check(parameters.RESPONSE, asked)
    except InvalidRequest:
        return False
    return True


def _response(service: Service, call: ResponseCall, run: Run, created: int) -> Response:
    return Response(
        id=response_id(turn_id_of(run)),
        created=created,
        model=service.name,
        session_id=run.request.session_id if call.store else None,
        store=call.store and service.settings.history,
        asked=call.asked,
    )


class _ResponseObjectWriter:
    def __init__(self, response: Response, run: Run) -> None:
        self._response = response
        self._run = run

    def stream(self) -> _Events:
        return _Events(ResponseEncoder(self._response), self)

    def whole(self, answer: Mapping[str, Any]) -> bytes:
        content = whole_text(self._run.log, answer.get("content"))
        return jsontext.dumps(answered(self._response, {**answer, "content": content}, self.completed()))

    @property
    def audience(self) -> Audience:
        """What the one who asks may read of an error."""
        return self._run.request.audience

    def completed(self) -> int:
        """When it was, in seconds since 1970; the same as what is worked out of what is stored."""
        took = self._run.milliseconds
        return now_in_seconds() if took is None else self._response.created + round(took / 1000)


class _Events:
    """The events of one stream."""

    def __init__(self, encoder: ResponseEncoder, answering: _ResponseObjectWriter) -> None:
        self._encoder = encoder
        self._answering = answering

    def events(self, batch: Batch) -> bytes:
        return self._encoder.events(batch)

    def last(self, outcome: Outcome) -> bytes:
        if outcome.answer is not None:
            return self._encoder.ended(outcome.answer, self._answering.completed())
        error = outcome.error
        assert error is not None
        if is_stop(error):
            return self._encoder.stopped()
        what = to_problem(error, audience=self._answering.audience)
        return self._encoder.failed(what.status, what.text)
