"""What the routes of the service work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from appbuilder.core.api_keys import ApiKeys
from appbuilder.core.conversations import LOCAL_USER, ConversationStore
from appbuilder.core.history_index import HistoryIndex
from appbuilder.core.runs import RunRegistry
from appbuilder.engine.engine import Engine
from appbuilder.errors import Audience
from appbuilder.serve.auth.authenticator import Authenticator
from appbuilder.serve.auth.cache import ExpiringCache
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.server import supervisor
from appbuilder.settings import Settings

if TYPE_CHECKING:
    from appbuilder.serve.http.rate_limits import Limits


KNOWN_FOR = 60.0
"""Seconds for which a session is known to be open to the local user: another process may delete it, and
another user take its id."""


@dataclass(frozen=True, slots=True)
class Service:
    """One process's service.

    :param engine: gives this process's engine.
    :param name: of the component; clients of the OpenAI API know it as the model's.
    :param takes: the names of the arguments the component's ``run`` takes, besides ``message`` and
        ``stream``.
    :param needs_credential: every request must bring the caller's AppBuilder token.
    :param keys: the API keys; None: this service has none.
    :param known: sessions open to the local user, whose turns there need no check of the owner.
    """

    engine: Callable[[], Engine]
    store: ConversationStore
    settings: Settings
    authenticator: Authenticator
    limits: Limits
    register: RunRegistry
    transcripts: HistoryIndex
    name: str
    takes: frozenset[str] = frozenset()
    needs_credential: bool = False
    keys: ApiKeys | None = None
    known: ExpiringCache[str, bool] = field(default_factory=lambda: ExpiringCache(KNOWN_FOR))


def audience(settings: Settings, identity: Identity | None) -> Audience:
    """What a caller may read of an error."""
    if identity is None or identity.owner != LOCAL_USER or settings.auth or settings.allow_anonymous:
        return Audience.STRANGER
    return Audience.DEVELOPER if supervisor.RELOADED else Audience.LOCAL


def one_writer(service: Service) -> bool:
    """Whether the database takes one writer at a time, so that what writes much stops turns: SQLite."""
    return bool(getattr(service.store, "defers_commits", False))
