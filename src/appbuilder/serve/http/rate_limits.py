"""How much one caller may ask for; and the program's own word on it.

What a process may do in all is the engine's affair (:mod:`appbuilder.engine.admission`).
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, time
from functools import lru_cache
from typing import Any, Protocol

from appbuilder import clock
from appbuilder.engine.turn_request import SessionCheck, TurnRequest
from appbuilder.errors import ConfigurationError, Forbidden, RateLimited
from appbuilder.serve.auth.request_info import ANONYMOUS, Identity, address_of
from appbuilder.serve.http.thread_pools import TURNS
from appbuilder.serve.http.user_hooks import HookThreads, call_hook
from appbuilder.settings import Settings

MOST_CALLERS = 10_000
"""Callers whose rate is kept; of more, who came longest ago starts again."""
BURST = 10.0
"""Seconds' worth of turns that a caller may begin at once."""
VISITORS_SHARE = 10
"""Times a caller's rate that the visitors from one address have together: whoever asks for a cookie gets one,
but behind an address there may be an office, or a proxy and all the world."""

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
        self._rates = Rates(settings.rate) if settings.rate else None
        self._counts = counts
        self._hook = hook
        self._threads = HookThreads()

    @property
    def any(self) -> bool:
        """Whether there is anything to pass."""
        return self._rates is not None or self._hook is not None

    async def check(self, identity: Identity, turn: TurnRequest, guard: SessionCheck | None = None) -> None:
        """Lets a turn begin, or not.

        :param guard: of its session. The hook is asked about the caller's sessions and about new ones only:
            its word on another's would tell that there is one.
        :raises NotFound: the session is another owner's.
        :raises RateLimited: the caller has begun too many, or the hook says so.
        :raises Forbidden: the hook refuses it.
        :raises ServiceUnavailable: the hook failed.
        """
        if self._rates is not None:
            wait = self._rates.take(identity, clock.monotonic())
            if wait > 0:
                raise RateLimited("You have begun too many turns; wait a moment.", wait)
        if self._hook is not None:
            if guard is not None:
                await TURNS.run_for(limit_key(identity), guard)
            await self._ask(self._hook, identity, turn.session_id)

    async def _ask(self, hook: TurnHook, identity: Identity, session_id: str) -> None:
        def tokens_today() -> int:
            return self._counts.tokens_since(session_id, datetime.combine(clock.now().date(), time.min))

        word = await call_hook(
            self._threads, "APPBUILDER_TURN_HOOK", hook, identity, session_id, tokens_today
        )
        if word is None or word is True:
            return
        if word is False or isinstance(word, str):
            raise Forbidden(word or "The service does not take this turn.")
        raise ConfigurationError(
            "The function of APPBUILDER_TURN_HOOK must return None or True, or to refuse a turn False or the "
            "reason."
        )


class Rates:
    """What callers may begin, each alone and visitors of one address together.

    :param rate: turns a minute of each.
    """

    def __init__(self, rate: int) -> None:
        self._callers = Buckets(rate)
        self._visitors = Buckets(rate * VISITORS_SHARE)

    def take(self, identity: Identity, now: float) -> float:
        """Takes one turn; else the seconds until there is one again."""
        if not identity.is_visitor:
            return self._callers.take(caller_key(identity), now)
        address = address_key(identity.peer)
        # The address first, so that cookies without number do not drive other callers' buckets out; but what
        # one visitor has no turns for is not taken from the others.
        wait = self._visitors.wait(address, now) or self._callers.take(caller_key(identity), now)
        return wait or self._visitors.take(address, now)


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
        left = self._left_of(key, now)
        wait = self._until_one(left)
        self._left[key] = (left if wait else left - 1, now)
        self._left.move_to_end(key)
        if len(self._left) > MOST_CALLERS:
            self._left.popitem(last=False)
        return wait

    def wait(self, key: str, now: float) -> float:
        """The seconds until there is one, which is not taken."""
        return self._until_one(self._left_of(key, now))

    def _left_of(self, key: str, now: float) -> float:
        left, before = self._left.get(key, (self._most, now))
        return min(self._most, left + (now - before) * self._per_second)

    def _until_one(self, left: float) -> float:
        return 0.0 if left >= 1 else (1 - left) / self._per_second


def caller_key(identity: Identity) -> str:
    """Whose turns are counted together: a caller's; of anonymous ones, an address's."""
    return address_key(identity.peer) if identity.owner == ANONYMOUS else identity.owner


def limit_key(identity: Identity) -> str:
    """Whose work is counted together where a visitor would only need another cookie to be another caller."""
    return address_key(identity.peer) if identity.is_visitor else caller_key(identity)


@lru_cache(1024)
def address_key(peer: str) -> str:
    """An address; of IPv6 the first 64 bits: whoever has one address there has all that share them."""
    address = address_of(peer)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return peer if address is None else str(address)
