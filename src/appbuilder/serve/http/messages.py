"""What the routes of the service share: requests in, answers out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from starlette.requests import Request
from starlette.responses import Response

from appbuilder import errors, jsontext
from appbuilder.engine.memory_budget import Account
from appbuilder.protocols import chat
from appbuilder.protocols.body import JSON, BrokenBody, UnreadBody, check_headers, too_large
from appbuilder.protocols.body import json_object as body_object
from appbuilder.serve.auth.request_info import Identity, Receive, Scope, Send
from appbuilder.serve.http.thread_pools import PARSING
from appbuilder.settings import Settings

_T = TypeVar("_T")

IDENTITY = "appbuilder.identity"
"""Where the front leaves in the scope who is asking; None where unknown."""
REQUEST_ID = "appbuilder.request_id"
REQUEST_ID_HEADERS = (chat.REQUEST_ID_HEADER.lower().encode(), b"x-request-id")
"""Where an answer tells the request's id: ours, and what OpenAI's clients read."""
ACCOUNT = "appbuilder.account"
"""Where it stands in the scope what the request takes of the memory."""
HEADER = "appbuilder.header"
"""Where it stands in the scope what :func:`header_of` gives."""
_JSON = (b"content-type", b"application/json")
NOT_KEPT = {"Cache-Control": "no-store"}
"""Headers of what is one caller's, by whatever he was known: no cache may have it for the next one."""
CHAT = "/chat"
"""The route that no router stands in front of: it is asked most."""


def header_of(scope: Scope) -> Callable[[str], str | None]:
    """Gives a request's headers by their names in lower case, as Latin-1; None where a request has none.

    One that came twice is joined by commas, as WSGI servers do. Made once for a request.
    """
    known: Callable[[str], str | None] | None = scope.get(HEADER)
    if known is not None:
        return known
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        found[name] = f"{found[name]},{value}" if name in found else value
    scope[HEADER] = found.get
    return found.get


async def read_json(
    header: Callable[[str], str | None],
    receive: Receive,
    limit: int,
    kinds: Sequence[str] = (JSON,),
    *,
    account: Account | None = None,
) -> bytes:
    """The body of a request that is to be JSON.

    :param kinds: the types it may be declared as.
    :param account: counts a body that comes in several parts.
    :raises UnreadBody: there is no memory left for it.
    :raises UnsupportedMediaType: it is not declared as JSON, or it is compressed.
    :raises PayloadTooLarge: it is larger than *limit* bytes; no more than that is kept.
    :raises InvalidRequest: the client broke it off.
    """
    check_headers(header, limit, kinds)
    return await read_body(receive, limit, account)


async def read_body(receive: Receive, limit: int, account: Account | None = None) -> bytes:
    """A request's body, whatever it is.

    :raises PayloadTooLarge, InvalidRequest, UnreadBody: as :func:`read_json`.
    """
    body = bytearray()  # not a list of parts: there may be as many as bytes
    counted = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise BrokenBody("The body was broken off.")
        part: bytes = message.get("body", b"")
        if len(body) + len(part) > limit:
            raise too_large(limit)
        more = message.get("more_body", False)
        if not body and not more:
            return part
        body += part
        if account is not None and len(body) > counted:
            _count(account, len(body) + _STEP - counted)
            counted = len(body) + _STEP
        if not more:
            return bytes(body)


_STEP = 16 * 1024
"""Bytes of a body that are counted before they are there, so that parts need not be counted one by one."""


def _count(account: Account, size: int) -> None:
    try:
        account.take(size)
    except errors.AppBuilderError as error:
        raise UnreadBody(error) from None


async def send_whole(
    send: Send, body: bytes, *, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    """Sends a JSON answer whose length is known."""
    length = (b"content-length", b"%d" % len(body))
    start = {"type": "http.response.start", "status": status, "headers": [_JSON, length, *(headers or ())]}
    await send(start)
    await send_parts(send, body, more=False)


async def send_parts(send: Send, body: bytes, *, more: bool) -> None:
    """Sends *body*, a large one as its reader takes it: the server keeps what it is given until it has left.

    :param more: something follows.
    """
    at = 0
    while len(body) - at > _LARGEST_PART:
        part = body[at : at + _LARGEST_PART]
        await send({"type": "http.response.body", "body": part, "more_body": True})
        at += _LARGEST_PART
    await send({"type": "http.response.body", "body": body[at:] if at else body, "more_body": more})


_LARGEST_PART = 512 * 1024


# For Starlette's endpoints


def caller(request: Request) -> Identity:
    """Who is asking.

    :raises Unauthenticated: an unknown caller.
    """
    identity = request.scope.get(IDENTITY)
    if identity is None:
        raise errors.Unauthenticated("Send your key: Authorization: Bearer ...")
    return cast(Identity, identity)


async def json_object(
    request: Request, settings: Settings, account: Account | None = None
) -> dict[str, Any]:
    """The body, a JSON object as large as *settings* allow.

    :param account: as in :func:`read_json`.

    :raises InvalidRequest, PayloadTooLarge, UnsupportedMediaType: it is something else.
    """
    header, limit = header_of(request.scope), settings.max_body
    body = await read_json(header, request.receive, limit, account=account)
    return await own_connection(len(body), lambda: body_object(body, settings.max_values))


def reply(value: Any, status: int = 200) -> Response:
    """*value* as JSON, for who has asked alone."""
    return Response(jsontext.dumps(value), status, NOT_KEPT, JSON)


async def own_connection(size: int, work: Callable[[], _T]) -> _T:
    """What *work* returns; where it reads or writes more than 64 KiB, it is done off the event loop.

    :param size: in bytes.
    """
    if size <= jsontext.LONG:
        return work()
    return await PARSING.run(work)
