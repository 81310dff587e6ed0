"""Sessions as files: what is sent is read from the database as it is sent, and never held whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator

from starlette.requests import Request
from starlette.responses import Response

from appbuilder.core.conversations import Conversation, ConversationRepository, all_rows
from appbuilder.protocols.openapi.sessions import FORMATS, JSON_LINES
from appbuilder.protocols.rest import transcript
from appbuilder.serve.http import query_parameters
from appbuilder.serve.http.long_requests import WRITE, Written
from appbuilder.serve.http.thread_pools import BULK

_HEADERS = {"Content-Disposition": 'attachment; filename="sessions.jsonl"', "Cache-Control": "no-store"}


async def export(
    request: Request, repository: ConversationRepository, sessions: Iterable[Conversation]
) -> Response:
    """The sessions in the form the request asks for. What fails while the answer is sent cuts it off.

    A client that reads slowly holds no thread, and no more than what is read from the database at once.

    :param sessions: may block when the next one is taken.
    :raises InvalidRequest: there is no such form.
    :raises StoreUnavailable: the database does not answer.
    """
    form = query_parameters.choice(request, "format", FORMATS)
    if request.method == "HEAD":
        return Response(media_type=JSON_LINES, headers=_HEADERS)
    parts = _gathered(_openai(repository, sessions) if form == "openai" else _lines(repository, sessions))
    first = await BULK.run(next, parts, b"")

    async def every() -> AsyncIterator[bytes]:
        part = first
        while part:
            yield part
            part = await BULK.run(next, parts, b"")

    return Written(every(), JSON_LINES, _HEADERS)


def _lines(repository: ConversationRepository, sessions: Iterable[Conversation]) -> Iterator[bytes]:
    for each in sessions:
        yield transcript.session_line(each)
        for row in all_rows(repository, each.session_id):
            yield transcript.row_line(each.session_id, row)


def _openai(repository: ConversationRepository, sessions: Iterable[Conversation]) -> Iterator[bytes]:
    for each in sessions:
        yield from transcript.openai_line(all_rows(repository, each.session_id))


def _gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= WRITE:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    if waiting:
        yield b"".join(waiting)
