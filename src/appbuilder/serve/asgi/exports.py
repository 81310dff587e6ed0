"""Sessions as files: what is sent is read from the database as it is sent, and never held whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from appbuilder.core.catalogue import Catalogue, Conversation, all_rows
from appbuilder.serve.asgi import query
from appbuilder.serve.asgi.http import in_thread
from appbuilder.wire import transcript
from appbuilder.wire.openapi_sessions import FORMATS, JSON_LINES

_WRITE = 64 * 1024
"""Bytes that are gathered for a write: each one is waited for in a thread."""
_HEADERS = {"Content-Disposition": 'attachment; filename="sessions.jsonl"', "Cache-Control": "no-store"}


async def export(request: Request, catalogue: Catalogue, sessions: Iterable[Conversation]) -> Response:
    """The sessions in the form the request asks for. What fails while the answer is sent cuts it off.

    :param sessions: may block when the next one is taken.
    :raises InvalidRequest: there is no such form.
    :raises StoreUnavailable: the database does not answer.
    """
    form = query.choice(request, "format", FORMATS)
    if request.method == "HEAD":
        return Response(media_type=JSON_LINES, headers=_HEADERS)
    parts = _gathered(_openai(catalogue, sessions) if form == "openai" else _lines(catalogue, sessions))
    first = await in_thread(next, parts, b"")
    return StreamingResponse(chain((first,), parts), media_type=JSON_LINES, headers=_HEADERS)


def _lines(catalogue: Catalogue, sessions: Iterable[Conversation]) -> Iterator[bytes]:
    for each in sessions:
        yield transcript.session_line(each)
        for row in all_rows(catalogue, each.session_id):
            yield transcript.row_line(each.session_id, row)


def _openai(catalogue: Catalogue, sessions: Iterable[Conversation]) -> Iterator[bytes]:
    for each in sessions:
        yield from transcript.openai_line(all_rows(catalogue, each.session_id))


def _gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= _WRITE:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    if waiting:
        yield b"".join(waiting)
