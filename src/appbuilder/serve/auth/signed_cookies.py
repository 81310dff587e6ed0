"""Cookies of pages: signed, and those of logins end on the server when their users log out."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer

from appbuilder import clock
from appbuilder.core.conversations import ConversationRepository
from appbuilder.errors import StoreUnavailable
from appbuilder.serve.auth.cache import ExpiringCache
from appbuilder.serve.auth.request_info import Identity, RequestInfo, Scope
from appbuilder.serve.http.thread_pools import AUTH

DAY = 86_400
LOGIN_DAYS = 15
"""Days a login lasts at most, and its cookie."""
LOGIN = "login"
"""The id of a login, in its cookie."""
KNOWN = "_known"
"""Ends the name of the cookie of a browser that was logged in before."""
VISITOR_DAYS = 400
"""Days a browser keeps a cookie at most (https://httpwg.org/http-extensions/draft-ietf-httpbis-rfc6265bis.html)."""
_BELIEVED = 60.0
"""Seconds for which a login that was found to go on does so while the database does not answer."""


class SignedCookies:
    """Signs a small value into a cookie, and reads it back.

    :param key: another key makes all earlier cookies void.
    """

    def __init__(self, key: bytes) -> None:
        self._signer = URLSafeTimedSerializer(key, salt="appbuilder-page")
        # Cookies are shared by all ports of a host: two pages must not take each other's for damaged ones.
        self.name = "appbuilder_" + hashlib.sha256(key).hexdigest()[:8]

    def sign(self, value: Mapping[str, str]) -> str:
        """The cookie's text."""
        return str(self._signer.dumps(value))

    def read(self, request_info: RequestInfo, days: int, suffix: str = "") -> dict[str, Any]:
        """What the request's cookie says; empty: it has none that was signed here in the last *days* days.

        :param suffix: ends the cookie's name.
        """
        try:
            value = self._signer.loads(request_info.cookies.get(self.name + suffix, ""), max_age=days * DAY)
        except BadData:
            return {}
        return value if isinstance(value, dict) else {}


class Logins:
    """Which logins have ended. To be used on one event loop, but for :meth:`end`.

    :param repository: keeps that they have, for all processes; None: only this one knows.
    """

    def __init__(self, repository: ConversationRepository | None) -> None:
        self._repository = repository
        self._ended: set[str] = set()
        self._found: ExpiringCache[str, bool] = ExpiringCache(_BELIEVED)

    async def goes_on(self, login: object) -> bool:
        """Whether the login with this id has not ended; False for what is not an id.

        :raises StoreUnavailable: the database did not answer in time or refused.
        """
        if not isinstance(login, str) or not login or login in self._ended:
            return False
        if self._repository is None:
            return True
        try:
            ended = await AUTH.run(self._repository.is_ended, login)
        except StoreUnavailable:
            if not self._found.get(login):
                raise
            return True
        if ended:
            self._found.forget(login)
            return False
        self._found.put(login, True)
        return True

    def end(self, login: str) -> None:
        """Ends a login, in all processes. May take a while.

        :raises StoreUnavailable: the database did not answer in time or refused.
        """
        if self._repository is None:
            self._ended.add(login)
        else:
            self._repository.end_login(login, clock.now() + timedelta(days=LOGIN_DAYS))


class LocalPageAuth(ABC):
    """Who may use a page, as the page needs to know it.

    :param logins: which logins go on.
    :param user: names the user, or the key, in the cookie of a login.
    """

    def __init__(self, cookies: SignedCookies, logins: Logins, user: str) -> None:
        self._cookies = cookies
        self._logins = logins
        self._user_member = user
        self.cookie_name = cookies.name

    @property
    @abstractmethod
    def has_login(self) -> bool:
        """Whether users log in on the page."""

    @abstractmethod
    async def who(self, scope: Scope, request_info: RequestInfo) -> Identity | None:
        """Who asks; None: unknown, a login is needed (or what a proxy says).

        :raises StoreUnavailable: whether a login goes on cannot be found out now.
        """

    @abstractmethod
    def log_in(self, name: str, password: str, request_info: RequestInfo | None = None) -> str | None:
        """The cookie of a user who gives the right password; None: it is wrong. May take a while.

        :raises RateLimited: too many wrong ones came.
        :raises StoreUnavailable: the database did not answer in time or refused.
        """

    def browser_cookie(self, name: str) -> str:
        """What a browser keeps in its cookie :data:`KNOWN` after a login with this name; empty: nothing."""
        return ""

    def login_of(self, request_info: RequestInfo) -> str:
        """The id of the login whose cookie the request has; empty: it has none."""
        found = self._cookies.read(request_info, LOGIN_DAYS)
        return str(found.get(LOGIN, "")) if self._user_member in found else ""

    def log_out(self, request_info: RequestInfo) -> None:
        """Ends the login of the request's cookie, in all processes. May take a while.

        :raises StoreUnavailable: the database did not answer in time or refused.
        """
        if login := self.login_of(request_info):
            self._logins.end(login)
