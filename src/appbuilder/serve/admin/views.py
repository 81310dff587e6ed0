"""The admin page's routes, for administrators only; others learn nothing of them.

Every read is one that an index serves: a page of the conversation repository, and of each conversation its
newest rows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from appbuilder import clock
from appbuilder.core.conversations import Conversation, ConversationRepository, Place, StoredRow
from appbuilder.errors import AppBuilderError, InvalidRequest, NotFound
from appbuilder.protocols.errors import to_problem
from appbuilder.serve.admin import formatting, view_models
from appbuilder.serve.admin.forms import check_own_page, fields
from appbuilder.serve.admin.templates import HEADERS, STATIC, page
from appbuilder.serve.admin.translations import Words
from appbuilder.serve.auth.request_info import Identity, read_request_info
from appbuilder.serve.http.messages import IDENTITY, caller
from appbuilder.serve.http.rate_limits import limit_key
from appbuilder.serve.http.state import Service
from appbuilder.serve.http.thread_pools import BULK, TURNS
from appbuilder.serve.page.page_routes import OUR_ICON
from appbuilder.serve.page.page_texts import is_chinese
from appbuilder.serve.routes.runs import stop_all

PATH = "/admin"

LISTED = 25
"""Sessions on one page of the list."""
COUNTED_ROWS = 120
"""Rows of a session that its line in the list sums up; of a longer one the newest. Large ones are counted
as turns, and their tokens not read."""
SHOWN_ROWS = 400
"""Rows of a session on one page of it."""
_LONGEST_SEARCH = 300

_STATIC = {
    "admin.css": (STATIC / "admin.css", "text/css"),
    "admin.js": (STATIC / "admin.js", "text/javascript"),
    "thumb.svg": (STATIC / "thumb.svg", "image/svg+xml"),
    "icon.svg": (OUR_ICON, "image/svg+xml"),
}

_T = TypeVar("_T")

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(service: Service) -> list[BaseRoute]:
    """The routes at /admin and below."""
    admin = Admin(service)

    def at(path: str, endpoint: Endpoint, method: str = "GET") -> Route:
        return Route(PATH + path, admin.guarded(endpoint), methods=[method])

    return [
        at("", admin.sessions),
        at("/", admin.sessions),
        at("/sessions/{session_id:path}", admin.session),
        at("/sessions/{session_id:path}/rename", admin.rename, "POST"),
        at("/sessions/{session_id:path}/delete", admin.delete, "POST"),
        at("/runs", admin.runs),
        at("/runs/{run_id}/stop", admin.stop, "POST"),
        at("/keys", admin.keys),
        at("/static/{name}", admin.static),
    ]


class Admin:
    """The page's endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def guarded(self, endpoint: Endpoint) -> Endpoint:
        """*endpoint* for administrators; its errors are pages."""

        async def guarded(request: Request) -> Response:
            if request.method == "GET" and request.scope.get(IDENTITY) is None and self._has_login:
                return _go_to("/login")
            if not caller(request).sees_all_others:
                raise NotFound("Not found.")
            try:
                if request.method == "POST":
                    check_own_page(request)
                return await endpoint(request)
            except AppBuilderError as error:
                what = to_problem(error)
                return page("problem.html", what.status, told=what.text, **self._frame(request, ""))

        return guarded

    # Looking

    async def sessions(self, request: Request) -> Response:
        """The list."""
        asked = request.query_params
        search, owner = (asked.get(name, "").strip()[:_LONGEST_SEARCH] for name in ("q", "owner"))
        cursor = asked.get("cursor")
        frame = self._frame(request, "sessions")
        return await self._run(request, self._sessions, frame, search, owner, cursor)

    def _sessions(self, frame: dict[str, Any], search: str, owner: str, cursor: str | None) -> Response:
        repository = self._repository
        meant = formatting.parse_owners(owner)
        found = repository.page(meant, search=search, limit=LISTED, cursor=cursor)
        asked = {name: value for name, value in (("q", search), ("owner", owner)) if value}
        here = frame["base"]
        return page(
            "sessions.html",
            **frame,
            sessions=[(each, _totals(repository, each)) for each in found.conversations],
            search=search,
            owner=owner,
            known_owners=self._known_owners(frame["words"]),
            newest=_address(here, asked) if cursor is not None else None,
            older=_address(here, {**asked, "cursor": found.next}) if found.next else None,
        )

    async def session(self, request: Request) -> Response:
        """One of them, with what was said."""
        before = formatting.place(request.query_params.get("before"))
        frame, session_id = self._frame(request, "sessions"), request.path_params["session_id"]
        return await self._run(request, self._session, frame, caller(request), session_id, before)

    def _session(
        self, frame: dict[str, Any], viewer: Identity, session_id: str, before: Place | None
    ) -> Response:
        repository = self._repository
        conversation = repository.find(session_id)
        if conversation is None:
            return page("problem.html", 404, told=frame["words"]["not_found"], **frame)
        read = repository.read_back(session_id, before, SHOWN_ROWS, self._service.settings.page_bytes)
        rows: Sequence[StoredRow] = read.rows
        whole = read.next is None
        if not whole:
            rows = view_models.whole_turns(rows)
        # A rating is a row too, but not always one of this page.
        rated = None if before is None else repository.ratings([row.id for row in rows])
        told = view_models.turns(rows, rated)
        here = _session_path(frame["base"], session_id)
        return page(
            "session.html",
            **frame,
            session=conversation,
            turns=told,
            sums=view_models.totals(told, whole=whole) if before is None else None,
            earlier=None
            if whole or not rows
            else f"{here}?before={quote(formatting.encode_place(rows[0].place))}",
            newest=None if before is None else here,
            chat=self._chat_path(conversation, viewer),
        )

    async def runs(self, request: Request) -> Response:
        """What is under way, in all processes."""
        found = await self._run(request, self._service.register.runs, None)
        return page("runs.html", runs=found, now=clock.now(), **self._frame(request, "runs"))

    async def keys(self, request: Request) -> Response:
        """Who has a key; the secrets are kept nowhere."""
        keys = self._service.keys
        found = [] if keys is None else await self._run(request, keys.list)
        return page("keys.html", api_keys=found, **self._frame(request, "keys"))

    async def static(self, request: Request) -> Response:
        """Style sheet, script and icon."""
        found = _STATIC.get(request.path_params["name"])
        if found is None:
            raise NotFound("Not found.")
        return FileResponse(found[0], media_type=found[1], headers={**HEADERS, "Cache-Control": "no-cache"})

    # Doing

    async def rename(self, request: Request) -> Response:
        """Another title."""
        title = " ".join((await fields(request)).get("title", "").split())
        if not title:
            raise InvalidRequest("A title has at least one character.")
        session_id = request.path_params["session_id"]
        if not await self._run(request, self._repository.rename, session_id, title):
            raise NotFound("There is no such session.")
        return _go_to(_session_path(_base(request), session_id))

    async def delete(self, request: Request) -> Response:
        """Stops what runs in it, and deletes it."""
        session_id = request.path_params["session_id"]
        if await self._run(request, self._repository.find, session_id) is None:
            raise NotFound("There is no such session.")
        await stop_all(self._service, lambda run: run.session_id == session_id)
        await self._run(request, self._repository.delete, session_id)
        self._service.known.forget(session_id)
        return _go_to(_base(request))

    async def stop(self, request: Request) -> Response:
        """Stops a run, wherever it is; one that has ended meanwhile is as well."""
        await TURNS.run(self._service.register.stop, request.path_params["run_id"])
        return _go_to(_base(request) + "/runs")

    # What they share

    async def _run(self, request: Request, work: Callable[..., _T], *args: Any) -> _T:
        """Runs *work*, which blocks, when it is its caller's turn."""
        return await BULK.run_for(limit_key(caller(request)), work, *args)

    @property
    def _has_login(self) -> bool:
        """Whether a browser can log in on the chat page."""
        return bool(self._service.settings.page) and self._service.authenticator.page.has_login

    @property
    def _repository(self) -> ConversationRepository:
        return self._service.store.repository()

    def _frame(self, request: Request, tab: str) -> dict[str, Any]:
        """What stands around every page."""
        return {
            "base": _base(request),
            "service_name": self._service.name,
            "tab": tab,
            "viewer": caller(request).name,
            "words": Words(is_chinese(read_request_info(request.scope).language)),
        }

    def _known_owners(self, words: Words) -> list[formatting.OwnerLabel]:
        """Owners to choose from, besides those one can write."""
        return [formatting.owner(each, words) for each in (None, "local", "anonymous")]

    def _chat_path(self, conversation: Conversation, viewer: Identity) -> str | None:
        if not self._service.settings.page or conversation.owner not in viewer.owners:
            return None
        return f"/thread/{quote(conversation.session_id, safe='')}"


def _totals(repository: ConversationRepository, conversation: Conversation) -> view_models.Totals:
    outline = repository.outline(conversation.session_id, None, COUNTED_ROWS)
    whole = outline.next is None
    rows = outline.rows if whole else view_models.whole_turns(outline.rows)
    return view_models.totals(
        view_models.turns(rows), whole=whole, counted=all(row.value is not None for row in rows)
    )


def _base(request: Request) -> str:
    return str(request.scope.get("root_path", "")) + PATH


def _session_path(base: str, session_id: str) -> str:
    return f"{base}/sessions/{quote(session_id, safe='')}"


def _address(path: str, asked: dict[str, Any]) -> str:
    return f"{path}?{urlencode(asked)}" if asked else path


def _go_to(path: str) -> Response:
    return RedirectResponse(path, 303, HEADERS)
