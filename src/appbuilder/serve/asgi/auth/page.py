"""Who may use the service's page: whom the service's front has found, and who logs in with an API key."""

from __future__ import annotations

from appbuilder.core.keys import ApiKey, Keys
from appbuilder.ids import new_id
from appbuilder.serve.asgi.auth.credential import credential_of
from appbuilder.serve.asgi.auth.origins import cookies_count
from appbuilder.serve.asgi.http import IDENTITY
from appbuilder.serve.asking import ANONYMOUS, VISITORS, Asking, Identity, Scope
from appbuilder.serve.chainlit.identity import LOGIN_DAYS
from appbuilder.serve.chainlit.passwords import PEER_ATTEMPTS, Guesses
from appbuilder.serve.cookies import SignedCookies

KEY = "key"
VISITOR = "visitor"


class PageDoor:
    """The page's gate, see :class:`appbuilder.serve.chainlit.identity.PageGate`.

    :param keys: users log in with their name, and one of these as the password; None: there is no login.
    """

    def __init__(self, cookies: SignedCookies, keys: Keys | None) -> None:
        self._cookies = cookies
        self._keys = keys
        self._guesses = Guesses()

    @property
    def cookie_name(self) -> str:
        """Of the cookie that a browser is known by."""
        return self._cookies.name

    @property
    def has_login(self) -> bool:
        """Whether users log in on the page."""
        return self._keys is not None

    def who(self, scope: Scope, asking: Asking) -> Identity | None:
        """Whom the front has found; a browser that nobody knows becomes a visitor."""
        found: Identity | None = scope[IDENTITY]
        if found is None or found.owner != ANONYMOUS:
            return found
        visitor = new_id()
        # What another site's page asks for must not make the browser forget who it was.
        cookie = self._cookies.sign({VISITOR: visitor}) if cookies_count(asking) else ""
        return visitor_of(visitor, asking.peer, cookie)

    def is_logged_in(self, asking: Asking) -> bool:
        """Whether the request has the cookie of a login, and nothing that counts before it."""
        return credential_of(asking) is None and KEY in self._cookies.read(asking, LOGIN_DAYS)

    def log_in(self, name: str, password: str, peer: str) -> str | None:
        """The cookie of a user who gives one of his keys; it ends with the key.

        :raises RateLimited: too many wrong ones came from this peer.
        :raises StoreUnavailable: the database did not answer in time or refused.
        """
        counted = {peer: PEER_ATTEMPTS}
        self._guesses.admit(counted)
        key = self._find(password)
        if key is None or key.user != name:
            self._guesses.failed(counted)
            return None
        return self._cookies.sign({KEY: key.id})

    def _find(self, secret: str) -> ApiKey | None:
        return None if self._keys is None else self._keys.find(secret)


def visitor_of(visitor: str, peer: str, cookie: str = "") -> Identity:
    """A browser that is known by its cookie and by nothing else."""
    return Identity(visitor, VISITORS + visitor, cookie=cookie, peer=peer)
