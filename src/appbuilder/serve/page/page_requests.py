"""What the page's own routes and its guard share: the scope's facts, and errors as answers."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from starlette.responses import Response

from appbuilder import jsontext
from appbuilder.errors import MethodNotAllowed, PayloadTooLarge
from appbuilder.ids import new_id
from appbuilder.logs import logger
from appbuilder.protocols.errors import to_problem
from appbuilder.serve.auth.request_info import Receive, RequestInfo, Scope

LOGIN_OF_SCOPE = "appbuilder.login"
"""The login of who asks, as a member of the scope, for what stays open after the request."""
SOCKET = "/ws/socket.io"
SAFE = frozenset({"GET", "HEAD"})
MOST_BODY = 1024 * 1024
"""Bytes of a request that is not a message of a conversation."""
MOST_UPLOAD = 32 * 1024 * 1024
"""Bytes of a file."""
MOST_FILES = 10
"""Files with one message."""
MOST_KEPT = 30
"""Files that one open page may have given; they are kept until it is left."""
LEAST_FREE = 1024 * 1024 * 1024
"""Bytes that files of users leave free on the disk."""


def most_of_socket(limit: int) -> int:
    """Bytes of one message over a page's socket.

    A message somewhat over its limit is answered; the socket of a client that sends more is closed.

    :param limit: bytes of a message as JSON, the setting ``max_body``.
    """
    return 2 * limit + 64 * 1024


def same_origin(scope: Scope, request_info: RequestInfo) -> bool:
    """False where a browser says that another site's page asks for what only our own may.

    Browsers send Origin with every WebSocket and every request that can change something.
    """
    if scope["type"] == "http" and scope["method"] in SAFE and not scope["path"].startswith(SOCKET):
        return True
    origins, hosts = request_info.values("origin"), request_info.values("host")
    if not origins:
        return True
    if len(origins) != 1 or len(hosts) != 1:
        return False
    return bool(hosts[0]) and origins[0].partition("://")[2] == hosts[0]


def bounded(receive: Receive, most: int = MOST_BODY) -> Receive:
    """:raises PayloadTooLarge: (when it is awaited) the body is larger than *most* bytes."""
    received = 0

    async def count() -> MutableMapping[str, Any]:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > most:
                raise PayloadTooLarge(f"A request has at most {most} bytes.")
        return message

    return count


def failed(error: BaseException, status: int = 0, words: str = "") -> Response:
    """The answer to a request that failed; ``detail`` is where Chainlit's page looks for the words.

    :param status: with *words* what is reported; 0: what :mod:`appbuilder.protocols.errors` says of *error*.
    """
    request_id, later = new_id(), 0
    if not status:
        what = to_problem(error)
        status, words, later = what.status, what.text, what.retry_after
    if status >= 500:
        logger.error("request %s of the page failed", request_id, exc_info=error)
    body = {"code": status, "message": words, "detail": words, "request_id": request_id, "result": None}
    headers = {"Retry-After": str(later)} if later else {}
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.allowed
    return Response(jsontext.dumps(body), status, headers, "application/json")
