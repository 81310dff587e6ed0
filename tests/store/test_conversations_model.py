"""Random histories of conversations: the SQL catalogue, that in memory, and a plain model of both."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.memory_store import MemoryStore
from tests.store.helpers import entry_turn, turn

from appbuilder import clock
from appbuilder.core.conversations import FEEDBACK_KEY, ConversationStore, Owner, Rating, title_of
from appbuilder.core.store import TURN_KEY
from appbuilder.errors import NotFound
from appbuilder.settings import Settings
from appbuilder.store.databases.urls import parse
from appbuilder.store.sessions.session_store import SqlStore

SESSIONS = st.sampled_from(["a", "A", "会话", "d"])
OWNERS = st.sampled_from(["alice", "爱丽丝"])
ANYBODY = st.lists(st.sampled_from([None, "alice", "爱丽丝"]), max_size=3)
TITLES = st.text(st.characters(codec="utf-8"), max_size=90) | st.sampled_from(["100%", "a_b\\", "天气"])


class CatalogueMachine(RuleBasedStateMachine):
    """Two SQL stores on one file (as two processes have), one in memory, and the model."""

    @initialize(prepared=st.booleans())
    def start(self, prepared: bool) -> None:
        self.folder = tempfile.TemporaryDirectory()
        url = parse(f"sqlite:///{Path(self.folder.name)}/foo.db")
        self.stores: list[ConversationStore] = [
            SqlStore(url, Settings()), SqlStore(url, Settings()), MemoryStore(),
        ]
        if prepared:
            self.stores[0].prepare_conversations()
        self.model: dict[str, tuple[Owner, str]] = {}
        self.turns: dict[str, list[str]] = {}
        self.rated: dict[str, bool] = {}
        self.moment = datetime(2026, 1, 1)
        self.real_now = clock.now
        clock.now = lambda: self.moment
        self.number = 0

    @rule(session=SESSIONS, owner=OWNERS, title=TITLES, who=st.integers(0, 1), rows=st.booleans())
    def turn_on_the_page(self, session: str, owner: str, title: str, who: int, rows: bool) -> None:
        self.number += 1
        row_id = f"turn-{self.number}"
        said = [("query", title)] if rows else []
        made = entry_turn(session, owner, title, *said, row_id=row_id)
        for store in (self.stores[who], self.stores[2]):
            if self.model.get(session, (owner, ""))[0] in (owner, None):
                store.commit(made)
            else:
                with pytest.raises(NotFound):
                    store.commit(made)
        if self.model.get(session, (owner, ""))[0] not in (owner, None):
            return
        self.model.setdefault(session, (owner, title_of(title)))
        self.turns.setdefault(session, []).append(row_id)

    @rule(session=SESSIONS, text=TITLES, who=st.integers(0, 1))
    def turn_over_chat(self, session: str, text: str, who: int) -> None:
        made = turn(session, ("query", text), ("answer", text))
        self.stores[who].commit(made)
        self.stores[2].commit(made)
        self.model.setdefault(session, (None, title_of(text)))

    @rule(session=SESSIONS, title=TITLES, who=st.integers(0, 1))
    def rename(self, session: str, title: str, who: int) -> None:
        for store in (self.stores[who], self.stores[2]):
            assert store.repository().rename(session, title) == (session in self.model)
        if session in self.model:
            self.model[session] = (self.model[session][0], title_of(title))

    @rule(session=SESSIONS, who=st.integers(0, 1))
    def delete(self, session: str, who: int) -> None:
        for store in (self.stores[who], self.stores[2]):
            assert store.repository().delete(session) == (session in self.model)
        self.model.pop(session, None)
        for turn_id in self.turns.pop(session, ()):
            self.rated.pop(turn_id, None)

    @rule(data=st.data(), good=st.none() | st.booleans(), who=st.integers(0, 1))
    def rate(self, data: st.DataObject, good: bool | None, who: int) -> None:
        turn_id = data.draw(st.sampled_from(["nothing", *(f"turn-{n + 1}" for n in range(self.number))]))
        alive = any(turn_id in turns for turns in self.turns.values())
        for store in (self.stores[who], self.stores[2]):
            if good is None:
                assert store.repository().unrate(turn_id) == (turn_id in self.rated)
            else:
                assert store.repository().rate(turn_id, Rating(good)) == alive
        if good is None:
            self.rated.pop(turn_id, None)
        elif alive:
            self.rated[turn_id] = good

    @rule(seconds=st.sampled_from([-3600.0, -0.000001, 0.000001, 1.0]))
    def step_the_clock(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)

    @rule(owners=ANYBODY, search=TITLES | st.text("ab天_%\\ ", max_size=2), limit=st.integers(1, 5))
    def look(self, owners: list[Owner], search: str, limit: int) -> None:
        expected = self.pages(self.stores[2], owners, search, limit)
        assert self.pages(self.stores[0], owners, search, limit) == expected
        assert self.pages(self.stores[1], owners, search, limit) == expected

    @rule(owners=ANYBODY)
    def look_at_all(self, owners: list[Owner]) -> None:
        expected = {name: told for name, told in self.model.items() if told[0] in owners}
        for store in self.stores:
            page = store.repository().page(owners)
            assert {each.session_id: (each.owner, each.title) for each in page.conversations} == expected
            times = [each.updated_at for each in page.conversations]
            assert times == sorted(times, reverse=True)

    @rule(session=SESSIONS)
    def open(self, session: str) -> None:
        catalogues = [store.repository() for store in self.stores]
        told = [repository.find(session) for repository in catalogues]
        assert told[0] == told[1] == told[2]
        assert (told[0] is None) == (session not in self.model)
        rows = [[(row.key, row.value) for row in repository.rows(session, 50)] for repository in catalogues]
        assert rows[0] == rows[1] == rows[2]
        assert sum(key == TURN_KEY for key, _ in rows[0]) == len(self.turns.get(session, ()))
        ratings = {value["turn"]: value["good"] for key, value in rows[0] if key == FEEDBACK_KEY}
        mine = self.turns.get(session, ())
        assert ratings == {turn_id: good for turn_id, good in self.rated.items() if turn_id in mine}

    @rule(who=st.integers(0, 1))
    def close(self, who: int) -> None:
        self.stores[who].close()

    @invariant()
    def history_is_the_same(self) -> None:
        for session in getattr(self, "model", {}):
            expected = self.stores[2].history(session, "query", 100)
            assert self.stores[0].history(session, "query", 100) == expected

    def pages(self, store: ConversationStore, owners: list[Owner], search: str, limit: int) -> list[Any]:
        found: list[Any] = []
        cursor = None
        # An owner's list alone does not look for turns over POST /chat.
        store.repository().page([None], limit=1)
        while True:
            page = store.repository().page(owners, search=search, limit=limit, cursor=cursor)
            found += page.conversations
            cursor = page.next
            if cursor is None:
                return found

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            clock.now = self.real_now
            for store in self.stores:
                store.close()
            self.folder.cleanup()


TestCatalogueMachine = CatalogueMachine.TestCase
TestCatalogueMachine.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
