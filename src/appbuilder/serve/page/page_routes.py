"""The page's own routes: its HTML, its icon, logging in and out."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response

from appbuilder.errors import InvalidRequest, NotFound, Unauthenticated
from appbuilder.serve.auth.request_info import Identity, Receive, RequestInfo, Scope, over_https
from appbuilder.serve.auth.signed_cookies import KNOWN, LOGIN_DAYS, VISITOR_DAYS, LocalPageAuth
from appbuilder.serve.http.thread_pools import AUTH, LOGINS
from appbuilder.serve.page.page_html import SCRIPT, STYLE_SHEET, localized
from appbuilder.serve.page.page_requests import SAFE, bounded
from appbuilder.serve.page.script_data import ScriptData

_DAY = 86_400
_PAGES = re.compile(r"/|/login|/thread/[^/]+")
_EARLIER = re.compile(r"/thread/(.+)/earlier", re.DOTALL)
# What folds open has an avatar by its name too, and a model's name has slashes.
_ICONS = re.compile(r"/favicon|/favicon\.ico|/logo|/avatars/.+", re.DOTALL)
_STATIC = Path(__file__).parent / "static"

OUR_ICON = _STATIC / "icon.svg"


Earlier = Callable[[Identity, str, str | None, str], Awaitable[Response]]
"""The plain page of a conversation's turns: who asks, session id, the place before which, language."""


class Routes:
    """Answers what is the page's own.

    :param html: the page, see :func:`appbuilder.serve.page.page_html.localized`.
    :param icon: an image file.
    :param theme: ``light``, ``dark`` or None.
    :param earlier: the page of earlier turns.
    :param ended: is called with the id of a login that has ended.
    """

    def __init__(
        self,
        gate: LocalPageAuth,
        *,
        html: str,
        facts: ScriptData,
        icon: Path,
        theme: str | None,
        earlier: Earlier,
        ended: Callable[[str], Awaitable[None]],
    ) -> None:
        self._gate = gate
        self._html = html
        self._facts = facts
        self._icon = icon
        self._theme = theme
        self._earlier = earlier
        self._ended = ended

    async def answer(
        self, scope: Scope, receive: Receive, request_info: RequestInfo, identity: Identity | None
    ) -> Response | None:
        """The answer; None: Chainlit has what is at the address, if anything has.

        :param identity: of who asks; None: unknown.
        """
        path, method = scope["path"], scope["method"]
        if method in SAFE:
            found = _EARLIER.fullmatch(path)
            if found is None:
                return self._page(request_info, identity) if _PAGES.fullmatch(path) else self._show(path)
            return await self._show_earlier(scope, request_info, identity, found[1])
        if (method, path) == ("POST", "/login"):
            return await self._login(scope, receive, request_info)
        if (method, path) == ("POST", "/logout"):
            return await self._logout(request_info)
        return None

    def _page(self, request_info: RequestInfo, identity: Identity | None) -> Response:
        words = self._facts.language(request_info.language)
        facts = self._facts.of(identity, request_info, words)
        return HTMLResponse(localized(self._html, words, facts), headers={"Vary": "Accept-Language, Cookie"})

    def _show(self, path: str) -> Response | None:
        if _ICONS.fullmatch(path):
            return FileResponse(self._icon, media_type=mimetypes.guess_type(self._icon.name)[0])
        if path == STYLE_SHEET:
            return FileResponse(_STATIC / "page.css", media_type="text/css")
        if path == SCRIPT:
            return FileResponse(_STATIC / "page.js", media_type="text/javascript")
        if path == "/auth/config":
            return JSONResponse(self._auth())
        return JSONResponse({"status": "ok"}) if path == "/health" else None

    async def _show_earlier(
        self, scope: Scope, request_info: RequestInfo, identity: Identity | None, session_id: str
    ) -> Response:
        if identity is None:
            if self._gate.has_login:
                return RedirectResponse("/login", 303)
            raise Unauthenticated("Log in first.")
        before = parse_qs(scope["query_string"].decode("latin-1")).get("before", [None])[0]
        return await self._earlier(identity, session_id, before, request_info.language)

    def _auth(self) -> dict[str, Any]:
        theme = {} if self._theme is None else {"default_theme": self._theme}
        return {
            "requireLogin": True,
            "passwordAuth": self._gate.has_login,
            "headerAuth": False,
            "oauthProviders": [],
            "ui": {},
            **theme,
        }

    async def _login(self, scope: Scope, receive: Receive, request_info: RequestInfo) -> Response:
        if not self._gate.has_login:
            raise NotFound("This page has no login.")
        try:
            async with Request(scope, bounded(receive)).form(max_files=0, max_fields=10) as form:
                name, password = form.get("username"), form.get("password")
        except (MultiPartException, LookupError, UnicodeError):  # the last two: of a charset it names
            raise InvalidRequest("The login cannot be read.") from None
        if not isinstance(name, str) or not isinstance(password, str):
            raise InvalidRequest("A login needs username and password.")
        # In a thread: a hash is made to be slow.
        cookie = await LOGINS.run(self._gate.log_in, name, password, request_info)
        if cookie is None:
            return JSONResponse({"detail": "credentialssignin"}, 401)
        response = JSONResponse({"success": True})
        set_cookie(scope, response, self._gate.cookie_name, cookie, LOGIN_DAYS)
        if known := self._gate.browser_cookie(name):
            set_cookie(scope, response, self._gate.cookie_name + KNOWN, known, VISITOR_DAYS)
        return response

    async def _logout(self, request_info: RequestInfo) -> Response:
        response = JSONResponse({"success": True})
        if not self._gate.has_login:  # a visitor would lose all conversations
            return response
        login = self._gate.login_of(request_info)
        await AUTH.run(self._gate.log_out, request_info)
        response.delete_cookie(self._gate.cookie_name)
        if login:
            await self._ended(login)
        return response


def set_cookie(scope: Scope, response: Response, name: str, value: str, days: int) -> None:
    """Sets one of our cookies: for this host, not for scripts, not with other sites' requests."""
    secure = over_https(scope)
    response.set_cookie(name, value, max_age=days * _DAY, httponly=True, samesite="lax", secure=secure)
