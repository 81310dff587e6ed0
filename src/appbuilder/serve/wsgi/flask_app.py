"""The Flask transport: POST /chat, GET /health, GET /openapi.json.

It never touches a component or an iterator of one: it starts a run and reads its log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from flask import Flask, Response, request
from werkzeug.exceptions import (
    ClientDisconnected,
    HTTPException,
)
from werkzeug.wsgi import get_input_stream

from appbuilder import errors, jsontext
from appbuilder.engine.engine import Engine, Run
from appbuilder.engine.log import Outcome
from appbuilder.engine.memory_budget import Account
from appbuilder.engine.reader import LogReader
from appbuilder.ids import new_id
from appbuilder.protocols import chat, sse
from appbuilder.protocols.body import BrokenBody, UnreadBody, check_headers, too_large
from appbuilder.protocols.errors import error_answer, routing_error
from appbuilder.protocols.openapi import documents

_JSON = "application/json"
_WSGI_NAMES = {
    name.lower(): f"HTTP_{name.upper().replace('-', '_')}"
    for name in (chat.REQUEST_ID_HEADER, chat.USER_ID_HEADER, chat.EVENTS_HEADER, *chat.TOKEN_HEADERS)
}


def create_app(
    engine: Callable[[], Engine],
    *,
    url_rule: str = "/chat",
    needs_credential: bool = False,
    debug: bool = False,
) -> Flask:
    """The application.

    :param engine: returns this process's engine; called at each request, so that it is made after a fork.
    :param needs_credential: every request must bring the caller's AppBuilder token.
    :param debug: errors carry their traceback to the client.
    """
    app = Flask("appbuilder", static_folder=None)
    view = _ChatView(engine, needs_credential=needs_credential, debug=debug)
    app.add_url_rule(url_rule, "chat", view, methods=["POST"], provide_automatic_options=False)
    app.add_url_rule("/health", "health", lambda: _health(engine()))
    document = jsontext.dumps(documents.document(url_rule))
    app.add_url_rule("/openapi.json", "openapi", lambda: Response(document, mimetype=_JSON))
    app.register_error_handler(Exception, lambda error: _error_response(error, new_id(), debug=debug))
    return app


class _ChatView:
    """POST /chat."""

    def __init__(self, engine: Callable[[], Engine], *, needs_credential: bool, debug: bool) -> None:
        self._engine = engine
        self._needs_credential = needs_credential
        self._debug = debug

    def __call__(self) -> Response:
        request_id, account = new_id(), None
        environ = request.environ

        def header(name: str) -> str | None:
            # Flask's own look-up makes a mapping and a search of each.
            return environ.get(_WSGI_NAMES[name])

        try:
            request_id = chat.request_id(header)
            engine = self._engine()
            account = engine.budget.account("")
            body = _body(engine.settings.max_body, account)
            turn = chat.parse(
                body,
                header,
                id=request_id,
                needs_credential=self._needs_credential,
                max_values=engine.settings.max_values,
                account=account,
            )
            if len(body) > jsontext.SHORT:
                account.resize(2 * jsontext.memory_of(body))
            if turn.stream:
                return self._stream(engine.start(turn), engine)
            return self._whole(engine.execute(turn), account)
        except Exception as error:  # noqa: BLE001 - every error has an answer
            return _error_response(error, request_id, debug=self._debug)
        finally:
            if account is not None:
                account.release_account()

    def _whole(self, run: Run, account: Account) -> Response:
        outcome = run.log.wait_outcome()
        if outcome.answer is None:
            return self._failed(run, outcome)
        body = chat.answer(run.request.session_id, outcome.answer)
        response = Response(body, content_type=_JSON, headers=_id_header(run.request.request_id))
        if account.size:  # until the client has it
            account.hold()
            response.call_on_close(account.release_account)
        return response

    def _stream(self, run: Run, engine: Engine) -> Response:
        run.attach()
        run.log.wait_spoken(engine.settings.first_piece_wait)
        outcome = run.log.outcome
        if not run.log.has_spoken and outcome is not None and outcome.answer is None:
            run.detach()
            return self._failed(run, outcome)
        return Response(
            EventStream(run, engine.settings.heartbeat, debug=self._debug),
            content_type=sse.CONTENT_TYPE,
            headers={
                **_id_header(run.request.request_id),
                "Cache-Control": "no-cache",
                "X-Accel-Buffering": "no",  # nginx would hold the pieces back
            },
            direct_passthrough=True,
        )

    def _failed(self, run: Run, outcome: Outcome) -> Response:
        assert outcome.error is not None
        return _error_response(outcome.error, run.request.request_id, debug=self._debug)


class EventStream:
    """A reader of a run's log, as the body of a response: pieces that wait together leave as one write.

    A class and not a generator, because the server closes a body it never began to send, and closing a
    generator that never began runs nothing of it.
    """

    def __init__(self, run: Run, heartbeat: float, *, debug: bool) -> None:
        self._run = run
        self._heartbeat = heartbeat
        self._encoder = chat.EventEncoder(run.request, debug=debug)
        self._reader = LogReader(run.log)
        self._ended = False
        self._left = False

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> bytes:
        if self._ended:
            raise StopIteration
        while True:
            batch = self._reader.take()
            if batch is not None:
                request_id = self._run.request.request_id
                body, self._ended = sse.encoded(self._encoder, batch, request_id)
                if body:
                    return body
            elif not self._reader.wait(self._heartbeat):
                return sse.COMMENT

    def close(self) -> None:
        """The server calls this when the body was sent, or when the client has left."""
        if not self._left:
            self._left = True
            self._reader.close()
            self._run.detach()


def _body(limit: int, account: Account) -> bytes:
    """The request's body.

    :param account: counts a large one.
    :raises Overloaded: there is no memory left for it.
    :raises UnsupportedMediaType: it is not declared as JSON, or it is compressed.
    :raises PayloadTooLarge: it is larger than *limit* bytes; no more than that is read.
    :raises InvalidRequest: the client broke it off.
    """
    check_headers(request.headers.get, limit)
    declared = request.content_length
    try:
        body = _read(get_input_stream(request.environ), limit + 1, account)
    except errors.ServiceUnavailable as error:
        raise UnreadBody(error) from None
    except MemoryError:
        raise
    except ClientDisconnected:
        raise BrokenBody(_TOO_SHORT) from None
    except Exception:  # noqa: BLE001 - each server has errors of its own for chunks that are none
        raise BrokenBody("The body cannot be read: it was broken off, or is not framed rightly.") from None
    if len(body) > limit:
        raise too_large(limit)
    if declared is not None and len(body) < declared:
        raise BrokenBody(_TOO_SHORT)
    return body


_TOO_SHORT = "The body is shorter than its Content-Length says."


def _read(stream: IO[bytes], size: int, account: Account) -> bytes:
    """At most *size* bytes, fewer only at the stream's end."""
    body = bytearray()
    while size and (part := stream.read(min(size, _AT_ONCE))):
        body += part
        size -= len(part)
        if len(body) > _AT_ONCE:
            account.take(len(part))
    return bytes(body)


_AT_ONCE = 64 * 1024
"""Bytes of a body that are read at a time; of a larger one they are counted."""


def _id_header(request_id: str) -> dict[str, str]:
    """The header with the request's id: UTF-8, as it came, in the Latin-1 disguise WSGI wants."""
    return {chat.REQUEST_ID_HEADER: request_id.encode().decode("latin-1")}


def _health(engine: Engine) -> Response:
    if engine.draining:
        raise errors.Draining("The service is shutting down.")
    return Response(jsontext.dumps({"code": 0, "message": "", "result": {"status": "ok"}}), mimetype=_JSON)


def _error_response(error: Exception, request_id: str, *, debug: bool) -> Response:
    if isinstance(error, HTTPException) and error.code is not None:
        allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        error = routing_error(error.code, error.description or error.name, allowed) or error
    answer = error_answer(error, request_id, debug=debug)
    response = Response(answer.body, answer.status, mimetype=_JSON)
    response.headers.update(_id_header(request_id))
    response.headers.update({name.title(): value for name, value in answer.headers})
    return response
