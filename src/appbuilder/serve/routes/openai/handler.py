"""One turn behind either API of OpenAI's: its session, its run, its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any, Protocol, TypeVar

from appbuilder import clock
from appbuilder.engine.engine import Run
from appbuilder.engine.log import Outcome
from appbuilder.engine.memory_budget import Account
from appbuilder.engine.turn_request import Replaces, SessionCheck, TurnRequest
from appbuilder.errors import Unauthenticated
from appbuilder.ids import new_id
from appbuilder.protocols import chat
from appbuilder.protocols.body import json_object
from appbuilder.protocols.chat import Header
from appbuilder.protocols.openai import open_webui
from appbuilder.protocols.openai.messages import Conversation
from appbuilder.protocols.openai.session_names import SESSION_ID_HEADER, is_open_webui_chat, named_session
from appbuilder.protocols.sse import Encoder
from appbuilder.serve.auth.request_info import Identity, Receive, Scope, Send
from appbuilder.serve.http.event_stream import EventStream, outcome_of
from appbuilder.serve.http.memory_charge import account_of, charge, written
from appbuilder.serve.http.messages import (
    IDENTITY,
    REQUEST_ID,
    REQUEST_ID_HEADERS,
    header_of,
    own_connection,
    read_json,
    send_whole,
)
from appbuilder.serve.http.start_run import start_run
from appbuilder.serve.http.state import Service
from appbuilder.serve.routes.openai.replaced_turns import replaced_turns
from appbuilder.serve.routes.openai.session_resolver import (
    SessionResolver,
    acting_for,
    resolve_reference,
    resolve_session,
)

_Call_co = TypeVar("_Call_co", covariant=True)
_SESSION_ID = SESSION_ID_HEADER.lower().encode()


@dataclass(frozen=True, slots=True)
class OpenAICall:
    """What a request asks, whichever API it came by.

    :param session_id: the session its body names.
    :param protocol: its name in metrics.
    :param forget: nothing of the turn is to be kept.
    :param guard: says whether the session may go on this way.
    :param replaces: the newest turns of its session may be replaced, if the request goes on from before them.
    :param resolve_reference: *session_id* is that of items the input refers to.
    :param note: what is to be stored with the turn.
    """

    conversation: Conversation
    args: Mapping[str, Any]
    stream: bool
    session_id: str | None
    protocol: str
    forget: bool = False
    guard: SessionCheck | None = None
    replaces: bool = False
    referred: bool = False
    note: Mapping[str, Any] = field(default_factory=dict)


class ResponseWriter(Protocol):
    """Writes the answer of one run."""

    def stream(self) -> Encoder:
        """What writes its events."""

    def whole(self, answer: Mapping[str, Any]) -> bytes:
        """The body of a whole answer, of a message's members."""


class ReadCall(Protocol[_Call_co]):
    """Reads a body's members, as the API has it."""

    def __call__(self, body: Mapping[str, Any], *, model: str, takes: frozenset[str]) -> _Call_co:
        """:raises InvalidRequest, NotFound: it is not what the API takes."""


async def read_request(
    service: Service, scope: Scope, receive: Receive, read: ReadCall[_Call_co]
) -> tuple[Identity, _Call_co]:
    """Whose turn it is, and what the body asks.

    :raises Unauthenticated, InvalidRequest, NotFound, PayloadTooLarge, UnsupportedMediaType: see there.
    """
    identity, header = scope[IDENTITY], header_of(scope)
    if identity is None:
        raise Unauthenticated("Send your key: Authorization: Bearer ...")
    settings = service.settings
    account = account_of(service, scope)
    body = await read_json(header, receive, settings.max_body, account=account)

    def call() -> _Call_co:
        members = json_object(body, settings.max_values)
        charge(account, body, members)
        return read(members, model=service.name, takes=service.takes)

    identity = scope[IDENTITY] = acting_for(identity, header)  # errors are written to that one, too
    return identity, await own_connection(len(body), call)


async def handle_call(  # noqa: PLR0917 - an ASGI application, and what it serves
    service: Service,
    identity: Identity,
    asked: OpenAICall,
    answering: Callable[[Run], ResponseWriter],
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Runs the turn and sends its answer.

    :raises AppBuilderError: it failed before there was a piece, and before anything was sent.
    """
    asked = _with_header_session(asked, header_of(scope))
    place = await _resolve_session(service, identity, asked)
    try:
        run = await _begin(service, identity, asked, place, scope)
        headers = [(name, scope[REQUEST_ID].encode()) for name in REQUEST_ID_HEADERS]
        if not asked.forget:
            headers.append((_SESSION_ID, place.session_id.encode()))
        if asked.stream:
            events = EventStream(run, answering(run).stream(), service.settings, headers)
            await events(scope, receive, _remembering(send, place, run))
            return
        outcome = await outcome_of(run, receive)
        await place.remember(outcome)
        if outcome is not None:
            await _send_answer(send, outcome, answering(run), headers, account_of(service, scope))
    finally:
        await place.remember(None)


def _with_header_session(asked: OpenAICall, header: Header) -> OpenAICall:
    """*asked* with what the headers say of its session."""
    if open_webui.is_task(header, asked.conversation.messages):
        # The session they name is the chat that a title is to be found for; it has no part in this.
        return replace(asked, session_id=None, forget=True)
    # Open WebUI keeps its chats as trees and sends one branch of them.
    replaces = is_open_webui_chat(header) and asked.guard is None
    session_id = named_session(header, asked.session_id)
    referred = asked.referred and session_id == asked.session_id
    return replace(asked, session_id=session_id, referred=referred, replaces=replaces)


async def _resolve_session(service: Service, identity: Identity, asked: OpenAICall) -> SessionResolver:
    if asked.session_id is not None:
        if asked.referred and not asked.forget:
            return resolve_reference(service.transcripts, identity, asked.conversation, asked.session_id)
        return SessionResolver(asked.session_id, new=False)
    if asked.forget:
        return SessionResolver(new_id(), new=True)
    return await resolve_session(service.transcripts, identity, asked.conversation)


async def _begin(
    service: Service, identity: Identity, asked: OpenAICall, place: SessionResolver, scope: Scope
) -> Run:
    header = header_of(scope)
    turn = TurnRequest(
        message=asked.conversation.message,
        session_id=place.session_id,
        stream=asked.stream,
        args=asked.args,
        request_id=scope[REQUEST_ID],
        user_id=chat.id_in(header, chat.USER_ID_HEADER, chat.MAX_USER_ID),
        credential=chat.credential_of(header, needed=service.needs_credential),
        guard=asked.guard,
        new_session=place.new,
        forget=asked.forget,
        replaces=_replaced_by(service, asked, place) if asked.replaces else None,
        account=account_of(service, scope),
        door=asked.protocol,
    )
    return await start_run(service, identity, turn, header(chat.ON_DISCONNECT_HEADER.lower()), asked.note)


def _replaced_by(service: Service, asked: OpenAICall, place: SessionResolver) -> Replaces:
    return lambda: replaced_turns(service.store.repository(), place.session_id, asked.conversation)


def _remembering(send: Send, place: SessionResolver, run: Run) -> Send:
    """*send*, before whose last part the conversation is remembered: the client may go on at once."""

    async def settling(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            await place.remember(run.log.outcome)
        await send(message)

    return settling


async def _send_answer(
    send: Send,
    outcome: Outcome,
    answering: ResponseWriter,
    headers: list[tuple[bytes, bytes]],
    account: Account,
) -> None:
    members = outcome.answer
    if members is None:
        assert outcome.error is not None
        raise outcome.error
    await send_whole(send, await written(account, lambda: answering.whole(members)), headers=headers)


def turn_id_of(run: Run) -> str:
    """The id of a run's turn, under which its row is found where there is one."""
    request = run.request
    return request.run_id if request.keep is None else request.keep.turn_id


def now_in_seconds() -> int:
    """The time, in seconds since 1970."""
    return int(clock.now().replace(tzinfo=UTC).timestamp())
