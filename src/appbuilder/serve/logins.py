"""Logins of the chat page: each has an id in its cookie, and ends on the server when its user logs out."""

from __future__ import annotations

from datetime import timedelta

from appbuilder import clock
from appbuilder.core.catalogue import Catalogue
from appbuilder.errors import StoreUnavailable
from appbuilder.serve.cache import ExpiringCache
from appbuilder.serve.pools import AUTH

LOGIN_DAYS = 15
"""Days a login lasts at most, and its cookie."""
_BELIEVED = 60.0
"""Seconds for which a login that was found to go on does so while the database does not answer."""


class Logins:
    """Which logins have ended. To be used on one event loop, but for :meth:`end`.

    :param catalogue: keeps that they have, for all processes; None: only this one knows.
    """

    def __init__(self, catalogue: Catalogue | None) -> None:
        self._catalogue = catalogue
        self._ended: set[str] = set()
        self._found: ExpiringCache[str, bool] = ExpiringCache(_BELIEVED)

    async def goes_on(self, login: object) -> bool:
        """Whether the login with this id has not ended; False for what is not an id.

        :raises StoreUnavailable: the database did not answer in time or refused.
        """
        if not isinstance(login, str) or not login or login in self._ended:
            return False
        if self._catalogue is None:
            return True
        try:
            ended = await AUTH.run(self._catalogue.is_ended, login)
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
        if self._catalogue is None:
            self._ended.add(login)
        else:
            self._catalogue.end_login(login, clock.now() + timedelta(days=LOGIN_DAYS))
