"""Which session a conversation is that a client sends whole each time."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy.engine import URL
from tests.store.conftest import Opener
from tests.store.helpers import fetch

from appbuilder import clock
from appbuilder.core.history_index import HistoryIndex
from appbuilder.store.service import history_index as module
from appbuilder.store.sessions.session_store import SqlStore

OWNER = "user:" + "名\0" * 300


@pytest.fixture
def store(database_url: URL, opened: Opener) -> SqlStore:
    store = opened(database_url)
    store.prepare_service()
    return store


@pytest.fixture
def transcripts(store: SqlStore) -> HistoryIndex:
    return store.transcripts()


def test_a_session_is_given_out_once(transcripts: HistoryIndex) -> None:
    transcripts.remember(OWNER, "digest", "s")
    assert transcripts.take("user:other", "digest") is None
    assert transcripts.take(OWNER, "another") is None
    assert transcripts.take(OWNER, "digest") == "s"
    assert transcripts.take(OWNER, "digest") is None


def test_a_session_has_one_digest(transcripts: HistoryIndex) -> None:
    transcripts.remember(OWNER, "first", "s")
    transcripts.remember(OWNER, "second", "s")
    transcripts.remember(OWNER, "second", "s")
    assert transcripts.take(OWNER, "first") is None
    assert transcripts.take(OWNER, "second") == "s"


def test_each_of_several_goes_to_one_caller(store: SqlStore, database_url: URL, opened: Opener) -> None:
    for number in range(6):
        store.transcripts().remember("ann", "digest", f"s{number}")
    got: list[str | None] = []
    workers = [opened(database_url).transcripts() for _ in range(2)]
    threads = [threading.Thread(target=lambda n=n: got.append(workers[n % 2].take("ann", "digest")))
               for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    given = [each for each in got if each is not None]
    assert len(set(given)) == len(given) <= 6
    while (one := store.transcripts().take("ann", "digest")) is not None:
        given.append(one)
    assert sorted(given) == [f"s{number}" for number in range(6)]


def test_a_user_is_forgotten(transcripts: HistoryIndex) -> None:
    transcripts.remember("ann", "digest", "s")
    transcripts.remember("bob", "digest", "t")
    transcripts.forget("ann")
    assert transcripts.take("ann", "digest") is None
    assert transcripts.take("bob", "digest") == "t"


def test_old_ones_go(
    store: SqlStore, database_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now - module.KEPT - timedelta(seconds=1))
    store.transcripts().remember("ann", "old", "s")
    monkeypatch.setattr(clock, "now", lambda: now)
    transcripts = store.transcripts()
    transcripts.remember("ann", "new", "t")
    assert fetch(database_url, "SELECT session_id FROM appbuilder_transcripts") == [("t",)]


def test_those_that_are_remembered_at_once(transcripts: HistoryIndex) -> None:
    threads = [threading.Thread(target=transcripts.remember, args=("ann", f"d{n}", f"s{n}"))
               for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [transcripts.take("ann", f"d{n}") for n in range(20)] == [f"s{n}" for n in range(20)]
