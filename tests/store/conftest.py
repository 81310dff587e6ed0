"""Stores of each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.engine import URL
from tests.memory_store import MemoryStore
from tests.services.fixtures import DATABASES, empty_database

from appbuilder.core.conversations import ConversationRepository, ConversationStore
from appbuilder.core.store import SessionStore
from appbuilder.ids import new_id
from appbuilder.settings import Settings
from appbuilder.store.databases.urls import parse
from appbuilder.store.sessions.session_store import SqlStore

Opener = Callable[..., SqlStore]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens stores that are closed when the test ends; further arguments are settings."""
    stores: list[SqlStore] = []

    def open_one(url: URL | str, **settings: float) -> SqlStore:
        values = {"db_timeout": 5.0, **settings}
        stores.append(SqlStore(parse(url), Settings(**values)))  # type: ignore[arg-type]
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture(scope="module", params=["memory", *DATABASES])
def shared_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SessionStore]:
    """One store of each kind for the tests of a module, which keep apart by their session ids."""
    if request.param == "memory":
        yield MemoryStore()
        return
    url = empty_database(request, request.param, tmp_path_factory.mktemp("db"))
    store = SqlStore(parse(url), Settings(db_timeout=5.0))
    yield store
    store.close()


@pytest.fixture
def session_id() -> str:
    """A session nobody else uses."""
    return new_id()


@pytest.fixture(params=["memory", *DATABASES])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ConversationStore]:
    """One of each kind, empty."""
    found: ConversationStore = MemoryStore()
    if request.param != "memory":
        url = empty_database(request, request.param, tmp_path_factory.mktemp("db"))
        found = SqlStore(parse(url), Settings(db_timeout=5.0))
    yield found
    found.close()


@pytest.fixture
def repository(store: ConversationStore) -> ConversationRepository:
    return store.repository()
