"""API keys as the service looks them up: seldom in the database, and never long after they were revoked."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping

from appbuilder import clock
from appbuilder.core.keys import ApiKey, Keys
from appbuilder.errors import StoreUnavailable
from appbuilder.logs import logger
from appbuilder.serve.pools import AUTH

FRESH = 2.0
"""Seconds for which what the database said holds."""
_MOST = 10_000
_LOGGED_EVERY = 5.0
"""Seconds between two lines of the log that say that the database fails."""


class KeyRing:
    """Keys by their secret and by their id. To be used on one event loop.

    :raises StoreUnavailable: (all methods) the database did not answer in time or refused.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._found: OrderedDict[bytes, tuple[float, ApiKey | None]] = OrderedDict()
        self._all: Mapping[str, ApiKey] = {}
        self._all_until = 0.0
        self._listing = asyncio.Lock()
        self._logged_until = 0.0

    async def find(self, secret: str) -> ApiKey | None:
        """The key with this secret; None: there is none that holds."""
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        until, key = self._found.get(digest, (0.0, None))
        if until > clock.monotonic():
            return key
        asked = clock.monotonic()
        try:
            key = await AUTH.run(self._keys.find, secret)
        except StoreUnavailable as error:
            self._log(error)
            raise
        self._found[digest] = (asked + FRESH, key)
        self._found.move_to_end(digest)
        if len(self._found) > _MOST:
            self._found.popitem(last=False)
        return key

    def _log(self, error: StoreUnavailable) -> None:
        """Logs that keys cannot be looked up, not for each request."""
        if self._logged_until <= clock.monotonic():
            self._logged_until = clock.monotonic() + _LOGGED_EVERY
            logger.error("No key can be looked up: %s", error)

    async def by_id(self, key_id: str) -> ApiKey | None:
        """The key with this id; None: there is none that holds."""
        if self._all_until <= clock.monotonic():
            async with self._listing:
                if self._all_until <= clock.monotonic():
                    asked = clock.monotonic()
                    every = await AUTH.run(self._keys.list)
                    self._all = {key.id: key for key in every if key.revoked_at is None}
                    self._all_until = asked + FRESH
        return self._all.get(key_id)
