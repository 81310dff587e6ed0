"""Who may use the service's page: whom the service's front has found, and who logs in with an API key."""

from __future__ import annotations

from appbuilder.core.keys import Keys
from appbuilder.ids import new_id
from appbuilder.serve.asgi.auth.origins import cookies_count
from appbuilder.serve.asgi.http import IDENTITY
from appbuilder.serve.asking import ANONYMOUS, VISITORS, Asking, Identity, Scope
from appbuilder.serve.cookies import LOGIN, Logins, PageGate, SignedCookies

KEY = "key"
VISITOR = "visitor"


class PageDoor(PageGate):
    """The gate of the service's page.

    :param keys: users log in with their name, and one of these as the password; None: there is no login.
    """

    def __init__(self, cookies: SignedCookies, keys: Keys | None, logins: Logins | None = None) -> None:
        super().__init__(cookies, logins or Logins(None), KEY)
        self._keys = keys

    @property
    def has_login(self) -> bool:
        """Whether users log in on the page."""
        return self._keys is not None

    async def who(self, scope: Scope, asking: Asking) -> Identity | None:
        """Whom the front has found; a browser that nobody knows becomes a visitor."""
        found: Identity | None = scope[IDENTITY]
        if found is None or found.owner != ANONYMOUS:
            return found
        visitor = new_id()
        # What another site's page asks for must not make the browser forget who it was.
        cookie = self._cookies.sign({VISITOR: visitor}) if cookies_count(asking) else ""
        return visitor_of(visitor, asking.peer, cookie)

    def login_of(self, asking: Asking) -> str:
        """The id of the login whose cookie the request has, if nothing counts before it; empty: none."""
        return super().login_of(asking) if asking.credential is None else ""

    def log_in(self, name: str, password: str, asking: Asking | None = None) -> str | None:
        """The cookie of a user who gives a key of that user; it ends with the key.

        Wrong ones are not counted: a key is 256 random bits, and a limit would keep others out.

        :raises StoreUnavailable: the database did not answer in time or refused.
        """
        key = None if self._keys is None else self._keys.find(password)
        if key is None or key.user != name:
            return None
        return self._cookies.sign({KEY: key.id, LOGIN: new_id()})


def visitor_of(visitor: str, peer: str, cookie: str = "") -> Identity:
    """A browser that is known by its cookie and by nothing else."""
    return Identity(visitor, VISITORS + visitor, cookie=cookie, peer=peer)
