"""Who is asking: decided for every request from its peer, its headers and a cookie we signed."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import replace

from appbuilder.core.context import SessionContext
from appbuilder.core.conversations import LOCAL_USER
from appbuilder.errors import ConfigurationError
from appbuilder.ids import new_id
from appbuilder.serve.auth.passwords import Passwords
from appbuilder.serve.auth.request_info import (
    VISITOR_PREFIX,
    Identity,
    RequestInfo,
    Scope,
    address_of,
    user_name,
    utf8,
)
from appbuilder.serve.auth.signed_cookies import (
    KNOWN,
    LOGIN,
    LOGIN_DAYS,
    VISITOR_DAYS,
    LocalPageAuth,
    Logins,
    SignedCookies,
)
from appbuilder.serve.page.page_options import Page, TrustedHeader


class PageContext(SessionContext):
    """The context in which a request of the page is handled: who asks, and in which language."""

    def __init__(self, identity: Identity, language: str) -> None:
        super().__init__(new_id(), "", "", identity.name)
        self.identity = identity
        self.language = language


class PageAuthenticator(LocalPageAuth):
    """Tells who is asking, by what is said of a :class:`Page`.

    :param key: signs cookies; another key makes all earlier cookies void.
    :param logins: default: those this process knows of.
    :raises ConfigurationError: the page's users and its header cannot both be, or a network is not valid.
    """

    def __init__(self, page: Page, key: bytes, logins: Logins | None = None) -> None:
        if page.users and page.user_header:
            raise ConfigurationError("A page has users with passwords or users from a header, not both.")
        super().__init__(SignedCookies(key), logins or Logins(None), "user")
        self._page = page
        self._proxies = _networks(page.user_header)
        self._passwords = Passwords(page.users)

    @property
    def has_login(self) -> bool:
        """Whether users log in with a password."""
        return bool(self._page.users)

    def identify(self, request_info: RequestInfo) -> Identity | None:
        """Who asks; None: an unknown caller, a login is needed (or the proxy's header)."""
        if self._page.users:
            return self._logged_in(request_info)
        if self._page.user_header:
            return self._from_header(request_info, self._page.user_header)
        if request_info.is_local:
            return Identity(LOCAL_USER, LOCAL_USER, sees_all_others=True)
        return self._visitor(request_info)

    async def who(self, scope: Scope, request_info: RequestInfo) -> Identity | None:
        """See :class:`LocalPageAuth`."""
        found = self.identify(request_info)
        if found is None or not self._page.users:
            return found
        return found if await self._logins.goes_on(found.login) else None

    def log_in(self, name: str, password: str, request_info: RequestInfo | None = None) -> str | None:
        """See :class:`LocalPageAuth`."""
        browser = "" if request_info is None else self._known_browser(name, request_info)
        return self.login_cookie(name) if self._passwords.check(name, password, browser) else None

    def browser_cookie(self, name: str) -> str:
        """See :class:`LocalPageAuth`."""
        return self._cookies.sign({"was": name, "browser": new_id()})

    def _known_browser(self, name: str, request_info: RequestInfo) -> str:
        """The id of this browser, if it was logged in with this name before; empty: it was not."""
        found = self._cookies.read(request_info, VISITOR_DAYS, KNOWN)
        return str(found.get("browser", "")) if found.get("was") == name else ""

    def login_cookie(self, name: str) -> str:
        """The cookie of a user who has given his password."""
        return self._cookies.sign({"user": name, "of": self._fingerprint(name), LOGIN: new_id()})

    def _visitor(self, request_info: RequestInfo) -> Identity:
        known = self._cookies.read(request_info, VISITOR_DAYS).get("visitor")
        visitor = known if isinstance(known, str) else new_id()
        cookie = "" if visitor == known else self._cookies.sign({"visitor": visitor})
        return Identity(visitor, VISITOR_PREFIX + visitor, cookie=cookie)

    def _logged_in(self, request_info: RequestInfo) -> Identity | None:
        found = self._cookies.read(request_info, LOGIN_DAYS)
        name = found.get("user")
        if not isinstance(name, str) or name not in self._page.users:
            return None
        # A changed password ends what was begun with the old one.
        if found.get("of") != self._fingerprint(name):
            return None
        return replace(self._user(name), login=str(found.get(LOGIN, "")))

    def _from_header(self, request_info: RequestInfo, header: TrustedHeader) -> Identity | None:
        address = address_of(request_info.peer)
        if address is None or not any(address in network for network in self._proxies):
            return None
        values = request_info.values(header.name.lower())
        name = utf8(values[0]).strip() if len(values) == 1 else ""
        return self._user(name) if user_name(name) else None

    def _user(self, name: str) -> Identity:
        return Identity(name, f"user:{name}", sees_all_others=name in self._page.administrators)

    def _fingerprint(self, name: str) -> str:
        return hashlib.sha256(f"{name}\0{self._page.users[name]}".encode()).hexdigest()[:16]


def _networks(header: TrustedHeader | None) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    proxies: Iterable[str] = header.proxies if header else ()
    try:
        return [ipaddress.ip_network(each, strict=False) for each in proxies]
    except ValueError as error:
        raise ConfigurationError(f"proxies must be addresses or networks: {error}.") from None
