"""What the routes of the service work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from appbuilder.core.catalogue import LOCAL_USER, CataloguedStore
from appbuilder.core.keys import Keys
from appbuilder.core.runs import RunRegister
from appbuilder.core.transcripts import Transcripts
from appbuilder.engine.engine import Engine
from appbuilder.errors import Audience
from appbuilder.serve.asgi import supervisor
from appbuilder.serve.asgi.auth.authenticator import Authenticator
from appbuilder.serve.asking import Identity
from appbuilder.serve.cache import ExpiringCache
from appbuilder.settings import Settings

if TYPE_CHECKING:
    from appbuilder.serve.asgi.limits import Limits


KNOWN_FOR = 60.0
"""Seconds for which a session is known to be open to the local user: another process may delete it, and
another user take its id."""


@dataclass(frozen=True, slots=True)
class Service:
    """One process's service.

    :param engine: gives this process's engine.
    :param name: of the component; clients of the OpenAI API know it as the model's.
    :param takes: the names of the arguments the component's ``run`` takes, beside ``message`` and ``stream``.
    :param needs_credential: every request must bring the caller's AppBuilder token.
    :param keys: the API keys; None: this service has none.
    :param known: sessions open to the local user, whose turns there need no check of the owner.
    """

    engine: Callable[[], Engine]
    store: CataloguedStore
    settings: Settings
    authenticator: Authenticator
    limits: Limits
    register: RunRegister
    transcripts: Transcripts
    name: str
    takes: frozenset[str] = frozenset()
    needs_credential: bool = False
    keys: Keys | None = None
    known: ExpiringCache[str, bool] = field(default_factory=lambda: ExpiringCache(KNOWN_FOR))


def audience(settings: Settings, identity: Identity | None) -> Audience:
    """What a caller may read of an error."""
    if identity is None or identity.owner != LOCAL_USER or settings.auth or settings.allow_anonymous:
        return Audience.STRANGER
    return Audience.DEVELOPER if supervisor.RELOADED else Audience.LOCAL


def one_writer(service: Service) -> bool:
    """Whether the database takes one writer at a time, so that what writes much stops turns: SQLite."""
    return bool(getattr(service.store, "commits_later", False))
