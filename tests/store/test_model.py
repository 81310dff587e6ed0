"""Random histories of operations: the store against a dict of lists."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.memory_store import MemoryStore

from appbuilder import clock
from appbuilder.core.store import SessionStore, TurnRecord
from appbuilder.settings import Settings
from appbuilder.store.databases.urls import parse
from appbuilder.store.sessions.session_store import SqlStore

SESSIONS = st.sampled_from(["a", "A", "b ", "会话"])
KEYS = st.sampled_from(["query", "answer", "Query"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.dictionaries(KEYS, JSON, min_size=1, max_size=3)


class StoreMachine(RuleBasedStateMachine):
    """Two SQL stores on one file (as two processes have), one in memory, and the model."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        url = parse(f"sqlite:///{Path(self.folder.name)}/foo.db")
        self.stores: list[SessionStore] = [
            SqlStore(url, Settings()), SqlStore(url, Settings()), MemoryStore(),
        ]
        self.model: dict[tuple[str, str], list[tuple[Any, bool]]] = {}
        self.moment = datetime(2026, 1, 1)
        self.real_now = clock.now
        clock.now = lambda: self.moment

    @rule(session=SESSIONS, rows=ROWS, who=st.integers(0, 1), incomplete=st.booleans())
    def commit(self, session: str, rows: dict[str, Any], who: int, incomplete: bool) -> None:
        mark = {"state": "incomplete"} if incomplete else {}
        turn = TurnRecord(session, "r", [(key, {"content": value, **mark}) for key, value in rows.items()])
        self.stores[who].commit(turn)
        self.stores[2].commit(turn)
        for key, value in rows.items():
            self.model.setdefault((session, key), []).append((value, not incomplete))

    @rule(seconds=st.sampled_from([-3600.0, -0.000001, 0.000001, 1.0]))
    def step_the_clock(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)

    @rule(session=SESSIONS, key=KEYS, limit=st.integers(-1, 6))
    def read(self, session: str, key: str, limit: int) -> None:
        finished = [value for value, done in self.model.get((session, key), []) if done]
        expected = finished[-limit:] if limit > 0 else []
        for store in self.stores:
            assert [each["content"] for each in store.history(session, key, limit)] == expected

    @precondition(lambda self: bool(self.model))
    @rule(who=st.integers(0, 1))
    def close(self, who: int) -> None:
        self.stores[who].close()

    @invariant()
    def no_session_is_mixed_up(self) -> None:
        for (session, key), values in getattr(self, "model", {}).items():
            done = [value for value, finished in values if finished]
            assert [each["content"] for each in self.stores[0].history(session, key, 100)] == done

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            clock.now = self.real_now
            for store in self.stores:
                store.close()
            self.folder.cleanup()


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
