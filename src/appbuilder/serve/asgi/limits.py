"""How much one caller may ask for; and the program's own word on it.

What a process may do in all is the engine's affair (:mod:`appbuilder.engine.limits`).
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, time
from typing import Any, Protocol

from appbuilder import clock
from appbuilder.engine.turn import TurnRequest
from appbuilder.errors import ConfigurationError, Forbidden, RateLimited
from appbuilder.serve.asgi.hooks import call_hook
from appbuilder.serve.asking import ANONYMOUS, Identity, address_of
from appbuilder.settings import Settings

MOST_CALLERS = 10_000
"""Callers whose rate is kept; of more, who came longest ago begins anew."""
BURST = 10.0
"""Seconds' worth of turns that a caller may begin at once."""

TurnHook = Callable[[Identity, str, Callable[[], int]], Any]
"""Gets who is asking, the session's id, and a function that gives the tokens this session has taken today
(UTC; it asks the database, so it blocks). Returns None or True, or to refuse the turn False or the reason;
or an awaitable of these; or raises RateLimited, Forbidden."""


class TokenCounts(Protocol):
    """What counts the tokens of a session."""

    def tokens_since(self, session_id: str, since: datetime) -> int:
        """Tokens of the session's turns since a time, in UTC without a zone."""


class Limits:
    """What a caller's turns have to pass. To be used on one event loop.

    :param hook: the function that ``turn_hook`` names.
    """

    def __init__(self, settings: Settings, counts: TokenCounts, hook: TurnHook | None = None) -> None:
        self._buckets = Buckets(settings.rate) if settings.rate else None
        self._counts = counts
        self._hook = hook

    @property
    def any(self) -> bool:
        """Whether there is anything to pass."""
        return self._buckets is not None or self._hook is not None

    async def check(self, identity: Identity, turn: TurnRequest) -> None:
        """Lets a turn begin, or not.

        :raises RateLimited: the caller has begun too many, or the hook says so.
        :raises Forbidden: the hook refuses it.
        :raises ServiceUnavailable: the hook failed.
        """
        if self._buckets is not None:
            wait = self._buckets.take(caller_key(identity), clock.monotonic())
            if wait > 0:
                raise RateLimited("You have begun too many turns; wait a moment.", wait)
        if self._hook is not None:
            await self._ask(self._hook, identity, turn.session_id)

    async def _ask(self, hook: TurnHook, identity: Identity, session_id: str) -> None:
        def tokens_today() -> int:
            return self._counts.tokens_since(session_id, datetime.combine(clock.now().date(), time.min))

        word = await call_hook("APPBUILDER_TURN_HOOK", hook, identity, session_id, tokens_today)
        if word is None or word is True:
            return
        if word is False or isinstance(word, str):
            raise Forbidden(word or "The service does not take this turn.")
        raise ConfigurationError(
            "The function of APPBUILDER_TURN_HOOK must return None or True, or to refuse a turn False or the "
            "reason."
        )


class Buckets:
    """A bucket for each caller: it holds a burst of turns, and fills again evenly.

    :param rate: turns a minute.
    """

    def __init__(self, rate: int) -> None:
        self._per_second = rate / 60
        self._most = max(1.0, self._per_second * BURST)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float) -> float:
        """Takes one turn; else the seconds until there is one again."""
        left, before = self._left.get(key, (self._most, now))
        left = min(self._most, left + (now - before) * self._per_second)
        wait = 0.0 if left >= 1 else (1 - left) / self._per_second
        self._left[key] = (left if wait else left - 1, now)
        self._left.move_to_end(key)
        if len(self._left) > MOST_CALLERS:
            self._left.popitem(last=False)
        return wait


def caller_key(identity: Identity) -> str:
    """Whose turns are counted together: a caller's; of those nobody knows, an address's.

    Of IPv6 the first 64 bits: whoever has one address there has all that share them.
    """
    if identity.owner != ANONYMOUS:
        return identity.owner
    address = address_of(identity.peer)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return identity.peer
