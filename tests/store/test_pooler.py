"""Behind PgBouncer: that it is there, and in which mode, is said; text and turns are kept all the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy.engine import URL
from tests.services.servers import PgBouncer, PostgresServer
from tests.store.conftest import Opener
from tests.store.helpers import add, contents

from appbuilder.store.service.diagnostics import TRANSACTION_POOLING, Check
from appbuilder.store.sessions.session_store import SqlStore


@pytest.fixture(scope="module")
def bouncers(postgres: PostgresServer) -> Iterator[dict[str, int]]:
    """The ports of poolers, by their mode."""
    started = {mode: PgBouncer(postgres, mode) for mode in ("session", "transaction")}
    yield {mode: each.port for mode, each in started.items()}
    for each in started.values():
        each.remove()


@pytest.fixture(params=["", "session", "transaction"])
def mode(request: pytest.FixtureRequest) -> str:
    """Of the pooler; empty: there is none."""
    return str(request.param)


@pytest.fixture
def url(mode: str, postgres: PostgresServer, bouncers: dict[str, int]) -> URL:
    direct = postgres.new_database()
    return direct.set(port=bouncers[mode]) if mode else direct


def pooler(store: SqlStore) -> Check:
    (fact,) = [each for each in store.describe() if each.name == "connection pooler"]
    return fact


def test_it_is_said(mode: str, url: URL, opened: Opener, caplog: pytest.LogCaptureFixture) -> None:
    store = opened(url)
    store.prepare()
    store.warn_of_pooling()
    assert caplog.messages == ([TRANSACTION_POOLING] if mode == "transaction" else [])
    fact = pooler(store)
    assert fact.value == (f"lends a connection for a {mode}" if mode else "none")
    assert fact.good is (mode != "transaction")
    assert fact.advice == (TRANSACTION_POOLING if mode == "transaction" else "")


def test_text_and_turns_are_kept(url: URL, opened: Opener) -> None:
    stores = [opened(url.update_query_dict({"client_encoding": "latin1"})) for _ in range(2)]
    for number in range(12):  # a statement is prepared when it comes for the sixth time
        for store in stores:
            add(store, f"s{number % 2}", f"{number} 😀 \x00")
    assert contents(stores[0], "s0") == [f"{number} 😀 \x00" for number in range(0, 12, 2) for _ in range(2)]
    for store in stores:
        store.check_writable(2.0)
