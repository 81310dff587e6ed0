"""Tells who is asking: as the settings say, from a key, a token, a cookie, a hook, or the place alone.

What was found of keys and tokens is cached here, and nowhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Protocol

from appbuilder import clock
from appbuilder.core.api_keys import ApiKey, ApiKeys
from appbuilder.core.conversations import LOCAL_USER, ConversationRepository
from appbuilder.errors import ConfigurationError, Forbidden, StoreUnavailable, Unauthenticated
from appbuilder.ids import new_id
from appbuilder.logs import logger
from appbuilder.serve.auth import identity_hook as hooks
from appbuilder.serve.auth.cache import SharedLookUps
from appbuilder.serve.auth.hosts import listed
from appbuilder.serve.auth.jwt_tokens import JwtVerifier, tokens_of
from appbuilder.serve.auth.origins import cookies_allowed
from appbuilder.serve.auth.request_info import (
    ANONYMOUS,
    VISITOR_PREFIX,
    Credential,
    Identity,
    RequestInfo,
    Scope,
)
from appbuilder.serve.auth.signed_cookies import (
    LOGIN,
    LOGIN_DAYS,
    VISITOR_DAYS,
    LocalPageAuth,
    Logins,
    SignedCookies,
)
from appbuilder.serve.auth.signing_secret import signing_key
from appbuilder.serve.http.messages import IDENTITY
from appbuilder.serve.http.thread_pools import AUTH
from appbuilder.serve.http.user_hooks import HookThreads
from appbuilder.serve.server.address import is_loopback
from appbuilder.settings import Settings

KINDS = ("keys", "jwt", "hook")
REVOKED_WITHIN = 2.0
"""Seconds after which a revoked key is refused everywhere: in requests, and on pages that are open."""
FRESH = REVOKED_WITHIN / 2
"""Seconds for which what was found of a key or a token holds, from before it was looked up; an open page asks
again as often, see :class:`appbuilder.serve.auth.websockets.WebSocketSessions`."""
_LOGGED_EVERY = 5.0
"""Seconds between two lines of the log that say that the database fails."""
_KEY = "key"
_VISITOR = "visitor"
"""Members of cookies: a key's id, a visitor's."""
_LOCAL = Identity(LOCAL_USER, LOCAL_USER, sees_all_others=True)


class Authenticator(Protocol):
    """Tells who is asking. To be used on one event loop."""

    @property
    def page(self) -> LocalPageAuth:
        """The gate of the service's chat page."""

    async def identify(self, request_info: RequestInfo) -> Identity | None:
        """Who asks; None: unknown, and authentication is required.

        :raises Unauthenticated: a credential was given, and it is wrong; what else the request brings does
            not count then.
        :raises Forbidden: the service is for programs and browsers of its own machine.
        :raises ServiceUnavailable: it cannot be decided now.
        """


def kinds_of(settings: Settings) -> frozenset[str]:
    """How callers may show who they are; empty: they need not.

    :raises ConfigurationError: there is no such way, or one is set up and not switched on.
    """
    kinds = frozenset(listed(settings.auth.lower()))
    unknown = kinds.difference(KINDS)
    if unknown:
        raise ConfigurationError(
            f"APPBUILDER_AUTH takes {', '.join(KINDS)}, joined by commas; not {', '.join(sorted(unknown))!r}."
        )
    meant = {"hook": settings.auth_hook, "jwt": settings.jwt_jwks or settings.jwt_issuer}
    for kind, value in meant.items():
        if value and kind not in kinds:
            raise ConfigurationError(f"{kind} is set up and not used: add it to APPBUILDER_AUTH.")
    return kinds


def check_exposure(settings: Settings, host: str) -> None:
    """:raises ConfigurationError: others could reach the service on *host*, without authentication."""
    kinds = kinds_of(settings)
    if kinds and settings.allow_anonymous:
        raise ConfigurationError(
            "APPBUILDER_AUTH and APPBUILDER_ALLOW_ANONYMOUS contradict each other: set one of them."
        )
    if not kinds and not settings.allow_anonymous and not is_loopback(host):
        raise ConfigurationError(
            f"On {host or 'all addresses'} others can reach the service, use the model in your name and "
            "fill the database, so callers must show who they are: --auth keys (then: appbuilder keys add "
            "NAME), --auth jwt or --auth hook. To let everybody in, say --allow-anonymous; to serve this "
            "machine alone, --host 127.0.0.1."
        )


def make_authenticator(
    settings: Settings,
    keys: ApiKeys | None,
    *,
    host: str,
    hook: hooks.Hook | None = None,
    database: str = "",
    repository: ConversationRepository | None = None,
) -> Authenticator:
    """What tells who is asking, as the settings say.

    :param host: the address the service listens on.
    :param hook: the function that ``auth_hook`` names.
    :param database: names the database; browsers known to a service of one are unknown to those of others.
    :param repository: keeps which logins of the page have ended.
    :raises ConfigurationError: the settings do not fit together, see also :func:`check_exposure`.
    """
    kinds = kinds_of(settings)
    check_exposure(settings, host)
    logins = Logins(repository)
    cookies = SignedCookies(signing_key(settings, f"page of {database}"))
    if not kinds:
        return LocalOrAnonymousAuth(cookies, PageAuth(cookies, None), anonymous=settings.allow_anonymous)
    if "keys" in kinds and keys is None:
        raise ConfigurationError("APPBUILDER_AUTH=keys needs a database that keeps keys.")
    if "hook" in kinds and hook is None:
        raise ConfigurationError("APPBUILDER_AUTH=hook needs APPBUILDER_AUTH_HOOK, the function to ask.")
    return CredentialAuth(
        page=PageAuth(cookies, keys if "keys" in kinds else None, logins),
        keys=keys if "keys" in kinds else None,
        tokens=tokens_of(settings) if "jwt" in kinds else None,
        hook=hook if "hook" in kinds else None,
        cookies=cookies,
        logins=logins,
        administrators=listed(settings.administrators),
    )


class LocalOrAnonymousAuth:
    """No credential is required. Who asks from this machine is the local user.

    :param anonymous: others are let in too: the page's visitors by their cookie, programs anonymously.
    """

    def __init__(self, cookies: SignedCookies, page: LocalPageAuth, *, anonymous: bool) -> None:
        self.page = page
        self._cookies = cookies
        self._anonymous = anonymous

    async def identify(self, request_info: RequestInfo) -> Identity | None:
        """See :class:`Authenticator`."""
        if request_info.is_local:
            return _LOCAL
        if not self._anonymous:
            raise Forbidden(
                "This service is for its own machine; to open it to others its operator gives it "
                "authentication, or starts it with --allow-anonymous."
            )
        if self._cookies.name in request_info.cookies and cookies_allowed(request_info):
            visitor = self._cookies.read(request_info, VISITOR_DAYS).get(_VISITOR)
            if isinstance(visitor, str):
                return _visitor_of(visitor, request_info.peer)
        return Identity(ANONYMOUS, ANONYMOUS, peer=request_info.peer)


class CredentialAuth:
    """Every caller needs a credential of one of these kinds; a kind that is None is not accepted.

    :param cookies: in which the page keeps that a user has given a key.
    :param logins: which of these go on.
    :param administrators: users who see everybody's sessions.
    """

    def __init__(
        self,
        *,
        page: LocalPageAuth,
        keys: ApiKeys | None,
        tokens: JwtVerifier | None,
        hook: hooks.Hook | None,
        cookies: SignedCookies,
        logins: Logins,
        administrators: Collection[str],
    ) -> None:
        self.page = page
        self._keys = keys
        self._found: SharedLookUps[bytes, Identity | None] = SharedLookUps(FRESH)
        self._logged_until = 0.0
        self._tokens = tokens
        self._threads = HookThreads()
        self._hook = hook
        self._cookies = cookies
        self._logins = logins
        self._administrators = frozenset(administrators)

    async def identify(self, request_info: RequestInfo) -> Identity | None:
        """See :class:`Authenticator`."""
        if self._keys is None and self._tokens is None:
            return await self._by_hook(request_info)
        credential = request_info.credential
        if credential is None:
            return await self._by_cookie(request_info) or await self._by_hook(request_info)
        identity = await self._by_credential(credential, request_info)
        if identity is None:
            raise Unauthenticated("The credential is not known here, or was revoked.")
        return identity

    async def _by_credential(self, credential: Credential, request_info: RequestInfo) -> Identity | None:
        text = credential.text
        if self._keys is not None and credential.is_key:
            look_up = partial(self._by_key, self._keys.find, text)
        elif self._tokens is not None and credential.is_token:
            look_up = partial(self._by_token, self._tokens, text)
        else:
            return await self._by_hook(request_info)
        return await self._found.get(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), look_up)

    async def _by_key(self, find: Callable[[str], ApiKey | None], text: str) -> Identity | None:
        try:
            key = await AUTH.run(find, text)
        except StoreUnavailable as error:
            if self._logged_until <= clock.monotonic():
                self._logged_until = clock.monotonic() + _LOGGED_EVERY
                logger.error("No key can be looked up: %s", error)
            raise
        return None if key is None else self._user(key.user, key.administrator)

    async def _by_token(self, tokens: JwtVerifier, text: str) -> Identity | None:
        return self._user(await tokens.user_of(text))

    async def _by_cookie(self, request_info: RequestInfo) -> Identity | None:
        if (
            self._keys is None
            or self._cookies.name not in request_info.cookies
            or not cookies_allowed(request_info)
        ):
            return None
        found = self._cookies.read(request_info, LOGIN_DAYS)
        key_id, login = found.get(_KEY), found.get(LOGIN)
        if not isinstance(key_id, str):
            return None
        user = await self._found.get(key_id.encode(), partial(self._by_key, self._keys.by_id, key_id))
        if user is None or not await self._logins.goes_on(login):
            return None
        return replace(user, login=str(login))

    async def _by_hook(self, request_info: RequestInfo) -> Identity | None:
        found = None if self._hook is None else await hooks.ask(self._hook, request_info, self._threads)
        return None if found is None else self._user(found.name, found.administrator)

    def _user(self, name: str, administrator: bool = False) -> Identity:
        sees_all = administrator or name in self._administrators
        return Identity(name, f"user:{name}", sees_all_others=sees_all)


class PageAuth(LocalPageAuth):
    """The gate of the service's page.

    :param keys: users log in with their name, and one of these as the password; None: there is no login.
    """

    def __init__(self, cookies: SignedCookies, keys: ApiKeys | None, logins: Logins | None = None) -> None:
        super().__init__(cookies, logins or Logins(None), _KEY)
        self._keys = keys

    @property
    def has_login(self) -> bool:
        """Whether users log in on the page."""
        return self._keys is not None

    async def who(self, scope: Scope, request_info: RequestInfo) -> Identity | None:
        """Whom the front has found; a browser that is unknown becomes a visitor."""
        found: Identity | None = scope[IDENTITY]
        if found is None or found.owner != ANONYMOUS:
            return found
        visitor = new_id()
        # What another site's page asks for must not make the browser forget who it was.
        cookie = self._cookies.sign({_VISITOR: visitor}) if cookies_allowed(request_info) else ""
        return _visitor_of(visitor, request_info.peer, cookie)

    def login_of(self, request_info: RequestInfo) -> str:
        """The id of the login whose cookie the request has, if nothing counts before it; empty: none."""
        return super().login_of(request_info) if request_info.credential is None else ""

    def log_in(self, name: str, password: str, request_info: RequestInfo | None = None) -> str | None:
        """The cookie of a user who gives a key of that user; it ends with the key.

        Wrong ones are not counted: a key is 256 random bits, and a limit would keep others out.

        :raises StoreUnavailable: the database did not answer in time or refused.
        """
        key = None if self._keys is None else self._keys.find(password)
        if key is None or key.user != name:
            return None
        return self._cookies.sign({_KEY: key.id, LOGIN: new_id()})


def _visitor_of(visitor: str, peer: str, cookie: str = "") -> Identity:
    """A browser that is known by its cookie and by nothing else."""
    return Identity(visitor, VISITOR_PREFIX + visitor, cookie=cookie, peer=peer)
