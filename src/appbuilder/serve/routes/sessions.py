"""/sessions: listing, reading, renaming, deleting and rating; exports, imports, and erasing a user.

A caller without access to a session gets the same answer as for a missing one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from appbuilder.core.conversations import (
    Conversation,
    ConversationRepository,
    Rating,
    all_conversations,
    title_of,
)
from appbuilder.errors import InvalidRequest, NotFound
from appbuilder.protocols.chat import checked_id
from appbuilder.protocols.openapi.sessions import (
    LONGEST_COMMENT,
    LONGEST_ID,
    LONGEST_SEARCH,
    LONGEST_TITLE,
    MOST_LISTED,
    MOST_TURNS,
    USUAL_LIMIT,
)
from appbuilder.protocols.rest import schemas
from appbuilder.serve.auth.authorization import require_session
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.http import query_parameters
from appbuilder.serve.http.long_requests import Written, answer_in_parts, in_slices, presence, wait_in_line
from appbuilder.serve.http.memory_charge import account_of
from appbuilder.serve.http.messages import caller, json_object, reply
from appbuilder.serve.http.path_routes import at
from appbuilder.serve.http.rate_limits import limit_key
from appbuilder.serve.http.state import Service, one_writer
from appbuilder.serve.http.thread_pools import BULK, READS, WRITES, CallerSlots
from appbuilder.serve.routes.runs import stop_all
from appbuilder.serve.routes.session_exports import export
from appbuilder.serve.routes.session_imports import import_file
from appbuilder.serve.routes.turn_pages import newest_turns

_T = TypeVar("_T")


def routes(service: Service) -> list[BaseRoute]:
    """The routes at /sessions and below."""
    sessions = Sessions(service)
    return [
        at("/sessions", GET=sessions.list, DELETE=sessions.erase),
        # Before the ids: a session that is called export is read as %65xport.
        at("/sessions/export", GET=sessions.export_all),
        at("/sessions/import", POST=sessions.bring_in),
        at("/sessions/{session_id}", GET=sessions.read, PATCH=sessions.rename, DELETE=sessions.delete),
        at("/sessions/{session_id}/export", GET=sessions.export),
        at("/sessions/{session_id}/turns/{turn_id}/rating", PUT=sessions.rate, DELETE=sessions.unrate),
    ]


class Sessions:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._slots = CallerSlots(service.settings.bulk_requests, service.settings.bulk_per_caller)

    async def list(self, request: Request) -> Response:
        """The caller's own; for administrators also those of others."""
        owners = query_parameters.owners(request, caller(request))
        search = query_parameters.text(request, "search", LONGEST_SEARCH) or ""
        limit = query_parameters.number(request, "limit", usual=USUAL_LIMIT, most=MOST_LISTED)
        cursor = query_parameters.text(request, "cursor")

        def page() -> schemas.Members:
            found = self._repository.page(owners, search=search, limit=limit, cursor=cursor)
            return {"sessions": [schemas.session(each) for each in found.conversations], "next": found.next}

        return await self._read(request, lambda: reply(schemas.envelope(page())))

    async def read(self, request: Request) -> Response:
        """One of them, with its newest turns, or those before a cursor."""
        identity, session_id = caller(request), _id(request, "session_id")
        limit = query_parameters.number(request, "limit", usual=USUAL_LIMIT, most=MOST_TURNS)
        cursor = query_parameters.text(request, "cursor")

        def read() -> list[bytes]:
            found = self._require(identity, session_id)
            page = newest_turns(
                self._repository, session_id, limit, cursor, self._service.settings.page_bytes
            )
            ratings = self._repository.ratings([each.id for each in page.turns])
            return list(schemas.session_with_turns(found, page.turns, ratings, page.next))

        async with AsyncExitStack() as held:
            await wait_in_line(request, READS, held)
            return answer_in_parts(await READS.run(read), held)

    async def rename(self, request: Request) -> Response:
        """Another title."""
        identity, session_id = caller(request), _id(request, "session_id")
        title = _title(await self._body(request))

        def rename() -> schemas.Members:
            self._require(identity, session_id)
            self._repository.rename(session_id, title)
            return schemas.session(self._require(identity, session_id))

        return reply(schemas.envelope(await self._read(request, rename)))

    async def delete(self, request: Request) -> Response:
        """Stops what runs in it, and deletes it."""
        identity, session_id = caller(request), _id(request, "session_id")
        await self._read(request, lambda: self._require(identity, session_id))
        await stop_all(self._service, lambda run: run.session_id == session_id)
        await self._read(request, lambda: self._repository.delete(session_id))
        self._service.known.forget(session_id)
        return reply(schemas.envelope({"session_id": session_id}))

    # Ratings

    async def rate(self, request: Request) -> Response:
        """What the caller thinks of an answer, in place of what he thought before."""
        rating = _rating(await self._body(request))
        if not await self._with_turn(request, lambda turn_id: self._repository.rate(turn_id, rating)):
            raise _no_turn()
        return reply(schemas.envelope(schemas.rated(rating)))

    async def unrate(self, request: Request) -> Response:
        """Takes a rating back."""
        if not await self._with_turn(request, self._repository.unrate):
            raise NotFound("This turn has no rating.")
        return reply(schemas.envelope(None))

    async def _body(self, request: Request) -> dict[str, Any]:
        caller(request)
        service = self._service
        return await json_object(request, service.settings, account_of(service, request.scope))

    async def _with_turn(self, request: Request, work: Any) -> bool:
        identity = caller(request)
        session_id, turn_id = _id(request, "session_id"), _id(request, "turn_id")

        def with_turn() -> bool:
            self._require(identity, session_id)
            if self._repository.conversation_of(turn_id) != session_id:
                raise _no_turn()
            return bool(work(turn_id))

        return await self._read(request, with_turn)

    # Files

    async def export(self, request: Request) -> Response:
        """One session as a file."""
        session_id = _id(request, "session_id")
        found = await self._read(request, lambda: self._require(caller(request), session_id))
        return await self._export(request, [found])

    async def export_all(self, request: Request) -> Response:
        """Sessions as a file: the caller's own, for administrators also those of others."""
        owners = query_parameters.owners(request, caller(request))
        return await self._export(request, all_conversations(self._repository, owners))

    async def _export(self, request: Request, found: Iterable[Conversation]) -> Response:
        async with AsyncExitStack() as held:
            await held.enter_async_context(self._slots.slot(limit_key(caller(request))))
            answer = await export(request, self._repository, found)
            if isinstance(answer, Written):
                answer.held = held.pop_all()
            return answer

    async def bring_in(self, request: Request) -> Response:
        """Sessions from a file."""
        async with self._slots.slot(limit_key(caller(request))):  # before the file comes
            return reply(schemas.envelope(await import_file(request, caller(request), self._service)))

    # Users

    async def erase(self, request: Request) -> Response:
        """Stops the runs of a user and removes their sessions from the database."""
        named, owner = query_parameters.owner(request)
        if not named:
            raise InvalidRequest("Say whose sessions are to be erased: user=NAME.")
        query_parameters.check_owner(caller(request), owner)
        erased = 0

        def erasing() -> Iterator[None]:
            nonlocal erased
            for count in self._repository.erasing(owner):
                erased += count
                yield

        async with self._slots.slot(limit_key(caller(request))), presence(request.receive) as here:
            await stop_all(self._service, lambda run: run.owner == owner)
            try:
                await in_slices(WRITES, erasing(), here, writing=one_writer(self._service))
            finally:
                self._service.known.clear()
            if owner is not None:
                await BULK.run(self._service.transcripts.forget, owner)
        return reply(schemas.envelope({"sessions": erased}))

    # What they share

    async def _read(self, request: Request, work: Callable[[], _T]) -> _T:
        """Runs *work*, a small read or change, when it is its caller's turn."""
        async with AsyncExitStack() as held:
            await wait_in_line(request, READS, held)
            return await READS.run(work)

    @property
    def _repository(self) -> ConversationRepository:
        return self._service.store.repository()

    def _require(self, identity: Identity, session_id: str) -> Conversation:
        return require_session(self._service, identity, session_id)


def _id(request: Request, name: str) -> str:
    """:raises InvalidRequest: no session or turn has such an id."""
    return checked_id(request.path_params[name], name, LONGEST_ID)


def _title(body: dict[str, Any]) -> str:
    title = body.get("title")
    if not isinstance(title, str) or len(title) > LONGEST_TITLE or not title_of(title):
        raise InvalidRequest(f"title must be a text of 1 to {LONGEST_TITLE} characters.")
    return title


def _rating(body: dict[str, Any]) -> Rating:
    good, comment = body.get("good"), body.get("comment", "")
    if not isinstance(good, bool):
        raise InvalidRequest("good must be true or false.")
    if not isinstance(comment, str) or len(comment) > LONGEST_COMMENT:
        raise InvalidRequest(f"comment must be a text of at most {LONGEST_COMMENT} characters.")
    return Rating(good, comment)


def _no_turn() -> NotFound:
    return NotFound("There is no such turn in this session.")
