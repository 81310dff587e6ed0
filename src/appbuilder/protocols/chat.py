"""The SDK's protocol: POST /chat, as the AppBuilder SDK defined it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from appbuilder import jsontext
from appbuilder.core.events import RunEvent, is_piece
from appbuilder.engine.log import Outcome
from appbuilder.engine.memory_budget import Account
from appbuilder.engine.reader import Batch
from appbuilder.engine.turn_request import TurnRequest
from appbuilder.errors import InvalidRequest, Unauthenticated
from appbuilder.ids import new_id
from appbuilder.protocols import sse
from appbuilder.protocols.body import json_object
from appbuilder.protocols.errors import Problem, envelope, to_problem

MAX_ID = 36
"""Characters of a session's or request's id: the width of the table's columns."""
MAX_USER_ID = 256
REQUEST_ID_HEADER = "X-Appbuilder-Request-Id"
USER_ID_HEADER = "X-Appbuilder-User-Id"
ON_DISCONNECT_HEADER = "X-Appbuilder-On-Disconnect"
EVENTS_HEADER = "X-Appbuilder-Events"
TOKEN_HEADERS = ("X-Appbuilder-Token", "X-Appbuilder-Authorization")

_TOKENS = tuple(name.lower() for name in TOKEN_HEADERS)
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Visible ASCII without a comma, with which servers join headers that came twice; not the scheme alone.
_TOKEN = re.compile(r"(?!bearer$)(?:bearer +)?[!-+\--~]+", re.IGNORECASE)

Header = Callable[[str], str | None]
"""Gives a header's value by its name in lower case, None where the request has none."""


def request_id(header: Header) -> str:
    """The request's id: the one it brought, or a new one.

    :raises InvalidRequest: the header is empty, too long, or holds control characters.
    """
    given = id_in(header, REQUEST_ID_HEADER)
    return new_id() if given is None else given


def parse(
    body: bytes,
    header: Header,
    *,
    id: str,  # noqa: A002
    needs_credential: bool,
    max_values: int = 0,
    account: Account | None = None,
) -> TurnRequest:
    """Reads a request.

    :param id: the request's id, see :func:`request_id`.
    :param needs_credential: the component takes its credential from each request.
    :param max_values: values the body may hold; 0: any number.
    :param account: what the request takes of the memory.
    :raises InvalidRequest: the body is not the JSON the protocol asks for.
    :raises Unauthenticated: a credential is needed and it is missing, or there is more than one.
    """
    credential = credential_of(header, needed=needs_credential)
    user_id = id_in(header, USER_ID_HEADER, MAX_USER_ID)
    data = json_object(body, max_values)
    if "message" not in data:
        raise InvalidRequest("The member 'message' is required.")
    message, stream = data.pop("message"), data.pop("stream", False)
    if not isinstance(stream, bool):
        raise InvalidRequest("The member 'stream' must be true or false.")
    events = header(EVENTS_HEADER.lower())
    if events not in (None, "all"):
        raise InvalidRequest(f"{EVENTS_HEADER} must be all.")
    named = "session_id" in data
    session_id = checked_id(data.pop("session_id"), "session_id") if named else new_id()
    return TurnRequest(
        message=message,
        session_id=session_id,
        stream=stream,
        args=data,
        request_id=id,
        user_id=user_id,
        credential=credential,
        watch=events is not None,
        all_events=events is not None,
        new_session=not named,
        account=account,
    )


def answer(session_id: str, members: Mapping[str, Any]) -> bytes:
    """The body of a whole answer."""
    return jsontext.dumps(
        {"code": 0, "message": "", "result": {"session_id": session_id, "answer_message": members}}
    )


class EventEncoder:
    """Writes the events of one stream; the part that is the same in each is encoded once.

    Text and typed outputs are the protocol's own events. Others are left out, or, where the request asks for
    all events, sent under their kind as name: readers of unnamed events do not see them.
    """

    def __init__(self, request: TurnRequest, *, debug: bool = False) -> None:
        """:param debug: an error shows its traceback."""
        self._request = request
        self._session_id = request.session_id
        self._all = request.all_events
        self._debug = debug
        self._around: tuple[bytes, bytes] | None = None

    def events(self, batch: Batch) -> bytes:
        """The events of what leaves together; empty where none of it is shown."""
        before, after = self._around or self._begin(batch.log.head)
        dumps = jsontext.dumps
        if batch.log.others:
            return b"".join(self._each(batch, before, after))
        return b"".join(
            [before + dumps(e if type(e) is str else e.data["value"]) + after for e in batch.entries]  # type: ignore[union-attr]
        )

    def _each(self, batch: Batch, before: bytes, after: bytes) -> Iterator[bytes]:
        for event, entry in zip(batch.events(), batch.entries, strict=True):
            if is_piece(entry):
                piece = entry if type(entry) is str else event.data["value"]
                yield before + jsontext.dumps(piece) + after
            elif self._all:
                yield sse.event(jsontext.dumps(event_members(event)), event.kind)

    def last(self, outcome: Outcome) -> bytes:
        """The event that ends the stream."""
        if outcome.answer is not None:
            return last_event(self._session_id, outcome.answer)
        assert outcome.error is not None
        what = to_problem(outcome.error, debug=self._debug, audience=self._request.audience)
        return error_event(what, self._request.request_id)

    def _begin(self, head: Mapping[str, Any] | None) -> tuple[bytes, bytes]:
        around = _around_content(_event_body(self._session_id, False, {"content": None, **(head or {})}))
        around = b"data: " + around[0], around[1] + b"\n\n"
        if head is not None:
            self._around = around
        return around


def event_members(event: RunEvent) -> dict[str, Any]:
    """An event of a run as JSON members."""
    at = None if event.at is None else event.at.isoformat(timespec="microseconds") + "Z"
    return {"seq": event.seq, "kind": event.kind, "at": at, "data": event.data}


def last_event(session_id: str, members: Mapping[str, Any]) -> bytes:
    """The event that ends a stream: no more content, and what the answer used and found."""
    return sse.event(_event_body(session_id, True, {**members, "content": ""}))


def error_event(what: Problem, id: str) -> bytes:  # noqa: A002
    """The event that ends a stream which failed."""
    return sse.event(envelope(what, id))


def _event_body(session_id: str, is_completion: bool, members: Mapping[str, Any]) -> bytes:
    result = {"session_id": session_id, "is_completion": is_completion, "answer_message": members}
    return jsontext.dumps({"code": 0, "message": "", "result": result})


def _around_content(body: bytes) -> tuple[bytes, bytes]:
    # The first one is ours: what stands before it is text, in which a quote is escaped.
    mark = b'"answer_message":{"content":null'
    at = body.index(mark) + len(mark) - len(b"null")
    return body[:at], body[at + len(b"null") :]


def id_in(header: Header, name: str, limit: int = MAX_ID) -> str | None:
    """The id in the header *name*; None: there is no such header.

    :raises InvalidRequest: it is empty, too long, not UTF-8, or holds control characters.
    """
    given = header(name.lower())
    return None if given is None else checked_id(_text(given), name, limit)


def credential_of(header: Header, *, needed: bool) -> str | None:
    """The AppBuilder token the request brought.

    :raises Unauthenticated: one is needed and it is missing, or there is more than one.
    """
    token, authorization = header(_TOKENS[0]), header(_TOKENS[1])
    if token is None and authorization is None and not needed:
        return None
    given = [value.strip() for value in (token, authorization) if value is not None]
    if not needed:
        return given[0] if len(given) == 1 and given[0] else None
    if len(given) != 1 or not _TOKEN.fullmatch(given[0]):
        raise Unauthenticated(f"Send your AppBuilder token, once, in the header {TOKEN_HEADERS[0]}.")
    return given[0]


def checked_id(value: Any, name: str, limit: int = MAX_ID) -> str:
    """*value*, if it is fit as an id.

    :param name: what the error calls it.
    :raises InvalidRequest: it is no string, empty, too long, or holds control characters.
    """
    if not isinstance(value, str) or not is_fit_id(value, limit):
        raise InvalidRequest(
            f"{name} must be a string of 1 to {limit} characters, none of them a control character.",
            param=name,
        )
    return value


def is_fit_id(value: str, limit: int) -> bool:
    """Whether *value* has 1 to *limit* characters, none of them a control character or half of one."""
    return 0 < len(value) <= limit and not _UNFIT.search(value)


def _text(header_value: str) -> str:
    """A header's value as UTF-8 text; WSGI hands its bytes over as Latin-1."""
    try:
        return header_value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise InvalidRequest("A header holds bytes that are not UTF-8.") from None
