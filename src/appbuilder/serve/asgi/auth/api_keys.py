"""The one cache of API keys: a key is looked up seldom, and refused soon after it was revoked."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from appbuilder import clock
from appbuilder.core.keys import ApiKey, Keys
from appbuilder.logs import logger
from appbuilder.serve.cache import MOST, ExpiringCache
from appbuilder.serve.pools import AUTH

REVOKED_WITHIN = 2.0
"""Seconds after which a revoked key is refused everywhere: in requests, and on pages that are open."""
FRESH = REVOKED_WITHIN / 2
"""Seconds for which an answer of the database holds, from before it was asked. An open page asks again as
often, see :class:`appbuilder.serve.asgi.auth.sockets.WatchedSockets`."""
_LOGGED_EVERY = 5.0
"""Seconds between two lines of the log that say that the database fails."""

_LookUp: TypeAlias = "asyncio.Task[ApiKey | None]"


class KeyCache:
    """Keys by their secret and by their id. To be used on one event loop.

    :param most: answers kept, also those that a key does not exist.
    :raises StoreUnavailable: (all methods) the database did not answer in time or refused.
    """

    def __init__(self, keys: Keys, most: int = MOST) -> None:
        self._keys = keys
        self._found: ExpiringCache[bytes, _LookUp] = ExpiringCache(FRESH, most)
        self._logged_until = 0.0

    async def find(self, secret: str) -> ApiKey | None:
        """The key with this secret; None: it does not exist, or was revoked."""
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        return await self._get(digest, self._keys.find, secret)

    async def by_id(self, key_id: str) -> ApiKey | None:
        """The key with this id; None: it does not exist, or was revoked."""
        return await self._get(key_id.encode(), self._keys.by_id, key_id)

    async def _get(self, name: bytes, look_up: Callable[[str], ApiKey | None], text: str) -> ApiKey | None:
        found = self._found.get(name)
        if found is None or found.cancelled():
            found = asyncio.create_task(AUTH.run(look_up, text))
            self._found.put(name, found)
            found.add_done_callback(partial(self._forget_failed, name))
        # Requests share a look-up; one that goes away must not end it for the others.
        return found.result() if found.done() else await asyncio.shield(found)

    def _forget_failed(self, name: bytes, done: _LookUp) -> None:
        error = None if done.cancelled() else done.exception()
        if error is None and not done.cancelled():
            return
        if self._found.get(name) is done:
            self._found.forget(name)
        if error is not None and self._logged_until <= clock.monotonic():
            self._logged_until = clock.monotonic() + _LOGGED_EVERY
            logger.error("No key can be looked up: %s", error)
