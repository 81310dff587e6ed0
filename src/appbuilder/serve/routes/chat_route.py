"""POST /chat: the SDK's protocol, the way most turns take."""

from __future__ import annotations

from appbuilder.engine.memory_budget import Account
from appbuilder.engine.turn_request import TurnRequest
from appbuilder.errors import MethodNotAllowed, Unauthenticated
from appbuilder.protocols import chat
from appbuilder.serve.auth.request_info import Receive, Scope, Send
from appbuilder.serve.http.event_stream import EventStream, outcome_of
from appbuilder.serve.http.memory_charge import account_of, charge, written
from appbuilder.serve.http.messages import HEADER, IDENTITY, REQUEST_ID, own_connection, read_json, send_whole
from appbuilder.serve.http.start_run import start_run
from appbuilder.serve.http.state import Service

_ON_DISCONNECT = chat.ON_DISCONNECT_HEADER.lower()
_REQUEST_ID = chat.REQUEST_ID_HEADER.lower().encode()


class ChatEndpoint:
    """The endpoint, an ASGI application; errors are raised."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service, identity, request_id = self._service, scope[IDENTITY], scope[REQUEST_ID]
        if scope["method"] != "POST":
            raise MethodNotAllowed("Method not allowed.", "POST")
        if identity is None:
            raise Unauthenticated("Send your key: Authorization: Bearer ...")
        header, account = scope[HEADER], account_of(service, scope)
        turn = await self._turn(scope, receive, account)
        run = await start_run(service, identity, turn, header(_ON_DISCONNECT))
        headers = [(_REQUEST_ID, request_id.encode())]
        if turn.stream:
            await EventStream(run, chat.EventEncoder(run.request), service.settings, headers)(
                scope, receive, send
            )
            return
        outcome = await outcome_of(run, receive)
        if outcome is None:
            return
        if outcome.answer is None:
            assert outcome.error is not None
            raise outcome.error
        members = outcome.answer
        whole = await written(account, lambda: chat.answer(turn.session_id, members))
        await send_whole(send, whole, headers=headers)

    async def _turn(self, scope: Scope, receive: Receive, account: Account) -> TurnRequest:
        service, header, settings = self._service, scope[HEADER], self._service.settings
        body = await read_json(header, receive, settings.max_body, account=account)

        def parse() -> TurnRequest:
            turn = chat.parse(
                body,
                header,
                id=scope[REQUEST_ID],
                needs_credential=service.needs_credential,
                max_values=settings.max_values,
                account=account,
            )
            charge(account, body, (turn.message, turn.args))
            return turn

        return await own_connection(len(body), parse)
