"""/sessions: listing, reading, renaming, deleting and rating; exports, imports, and erasing a user.

Whoever may not see a session is told what he would be told if there were none.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from appbuilder.core.catalogue import Catalogue, Conversation, Rating, all_conversations, title_of
from appbuilder.errors import InvalidRequest, NotFound
from appbuilder.serve.asgi import query
from appbuilder.serve.asgi.exports import export
from appbuilder.serve.asgi.http import caller, in_thread, json_object, reply
from appbuilder.serve.asgi.imports import bring_in
from appbuilder.serve.asgi.ownership import require_session
from appbuilder.serve.asgi.paths import at
from appbuilder.serve.asgi.reading import newest_turns
from appbuilder.serve.asgi.runs import stop_all
from appbuilder.serve.asgi.service import Service
from appbuilder.serve.asking import Identity
from appbuilder.wire import told
from appbuilder.wire.chat import checked_id
from appbuilder.wire.openapi_sessions import (
    LONGEST_COMMENT,
    LONGEST_ID,
    LONGEST_SEARCH,
    LONGEST_TITLE,
    MOST_LISTED,
    MOST_TURNS,
    USUAL_LIMIT,
)


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

    async def list(self, request: Request) -> Response:
        """The caller's own; for administrators also those of others."""
        owners = query.owners(request, caller(request))
        search = query.text(request, "search", LONGEST_SEARCH) or ""
        limit = query.number(request, "limit", usual=USUAL_LIMIT, most=MOST_LISTED)
        cursor = query.text(request, "cursor")

        def page() -> told.Members:
            found = self._catalogue.page(owners, search=search, limit=limit, cursor=cursor)
            return {"sessions": [told.session(each) for each in found.conversations], "next": found.next}

        return reply(told.envelope(await in_thread(page)))

    async def read(self, request: Request) -> Response:
        """One of them, with its newest turns, or those before a cursor."""
        identity, session_id = caller(request), _id(request, "session_id")
        limit = query.number(request, "limit", usual=USUAL_LIMIT, most=MOST_TURNS)
        cursor = query.text(request, "cursor")

        def read() -> told.Members:
            found = self._require(identity, session_id)
            page = newest_turns(self._catalogue, session_id, limit, cursor)
            ratings = self._catalogue.ratings([each.id for each in page.turns])
            return {**told.session(found), "turns": told.turns(page.turns, ratings), "next": page.next}

        return reply(told.envelope(await in_thread(read)))

    async def rename(self, request: Request) -> Response:
        """Another title."""
        identity, session_id = caller(request), _id(request, "session_id")
        title = _title(await json_object(request, self._service.settings))

        def rename() -> told.Members:
            self._require(identity, session_id)
            self._catalogue.rename(session_id, title)
            return told.session(self._require(identity, session_id))

        return reply(told.envelope(await in_thread(rename)))

    async def delete(self, request: Request) -> Response:
        """Stops what runs in it, and deletes it."""
        identity, session_id = caller(request), _id(request, "session_id")
        await in_thread(self._require, identity, session_id)
        await stop_all(self._service, lambda run: run.session_id == session_id)
        await in_thread(self._catalogue.delete, session_id)
        self._service.known.forget(session_id)
        return reply(told.envelope({"session_id": session_id}))

    # Ratings

    async def rate(self, request: Request) -> Response:
        """What the caller thinks of an answer, in place of what he thought before."""
        rating = _rating(await json_object(request, self._service.settings))
        if not await self._with_turn(request, lambda turn_id: self._catalogue.rate(turn_id, rating)):
            raise _no_turn()
        return reply(told.envelope(told.rated(rating)))

    async def unrate(self, request: Request) -> Response:
        """Takes a rating back."""
        if not await self._with_turn(request, self._catalogue.unrate):
            raise NotFound("This turn has no rating.")
        return reply(told.envelope(None))

    async def _with_turn(self, request: Request, work: Any) -> bool:
        identity = caller(request)
        session_id, turn_id = _id(request, "session_id"), _id(request, "turn_id")

        def with_turn() -> bool:
            self._require(identity, session_id)
            if self._catalogue.conversation_of(turn_id) != session_id:
                raise _no_turn()
            return bool(work(turn_id))

        return await in_thread(with_turn)

    # Files

    async def export(self, request: Request) -> Response:
        """One session as a file."""
        found = await in_thread(self._require, caller(request), _id(request, "session_id"))
        return await export(request, self._catalogue, [found])

    async def export_all(self, request: Request) -> Response:
        """Sessions as a file: the caller's own, for administrators also those of others."""
        owners = query.owners(request, caller(request))
        return await export(request, self._catalogue, all_conversations(self._catalogue, owners))

    async def bring_in(self, request: Request) -> Response:
        """Sessions from a file."""
        return reply(told.envelope(await bring_in(request, caller(request), self._service)))

    # Users

    async def erase(self, request: Request) -> Response:
        """Stops what somebody's runs, and takes his sessions out of the database."""
        named, owner = query.owner(request)
        if not named:
            raise InvalidRequest("Say whose sessions are to be erased: user=NAME.")
        query.check_owner(caller(request), owner)
        await stop_all(self._service, lambda run: run.owner == owner)
        erased = await in_thread(self._catalogue.erase, owner)
        self._service.known.forget_all()
        if owner is not None:
            await in_thread(self._service.transcripts.forget, owner)
        return reply(told.envelope({"sessions": erased}))

    # What they share

    @property
    def _catalogue(self) -> Catalogue:
        return self._service.store.catalogue()

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
