"""UserSession: in a runtime, in a session driven by hand, and in memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session
from tests.memory_store import MemoryStore
from tests.store.helpers import contents, fetch

import appbuilder
from appbuilder.core.context import SessionContext, context_var, init_context
from appbuilder.core.message import AnswerMessage, Message
from appbuilder.core.session_message import SessionMessage
from appbuilder.core.user_session import UserSession
from appbuilder.errors import StoreUnavailable
from appbuilder.ids import new_id
from appbuilder.store.sessions.open_stores import open_store
from appbuilder.testing.stores import FlakyStore


@pytest.fixture(autouse=True)
def _own_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(UserSession, "_configured", None)
    token = context_var.set(SessionContext("c", "LOCAL-x", "LOCAL-x"))
    yield
    context_var.reset(token)


def by_hand(session_id: str = "hand") -> SessionContext:
    return init_context(session_id, new_id())


def in_runtime(store: Any, session_id: str = "LOCAL-in-a-runtime") -> SessionContext:
    context = init_context(session_id, new_id())
    context.store = store
    return context


def said(session: UserSession, key: str = "query", limit: int = 10) -> list[Any]:
    return [message.content for message in session.get_history(key, limit)]


class TestLocal:
    def test_in_memory_a_list_per_key(self, tmp_path: Path) -> None:
        session = UserSession()
        for number in range(3):
            session.append({"query": Message(number), "answer": Message(str(number))})
        assert said(session) == [0, 1, 2]
        assert said(session, "answer", 2) == ["1", "2"]
        assert said(session, "unknown") == []
        assert said(session, limit=0) == said(session, limit=-1) == []
        assert list(tmp_path.iterdir()) == [], "no database is made"

    def test_post_append_raises(self) -> None:
        session = UserSession()
        session.append({"query": Message(1)})
        with pytest.raises(ValueError, match="init_context"):
            session._post_append()


class TestByHand:
    def test_written_when_the_request_ends(self, tmp_path: Path) -> None:
        session = UserSession("sqlite:///foo.db")
        by_hand()
        session.append({"query": Message("你好"), "answer": Message({"a": 1})})
        assert said(session) == []
        session._post_append()
        assert said(session) == ["你好"]
        by_hand()
        session.append({"query": Message("再见")})
        session._post_append()
        assert said(session) == ["你好", "再见"]
        assert said(session, limit=1) == ["再见"]
        assert said(session, "answer") == [{"a": 1}]
        by_hand("another")
        assert said(session) == []

    def test_the_default_is_user_session_db(self, tmp_path: Path) -> None:
        by_hand()
        session = UserSession()
        session.append({"query": Message(1)})
        session._post_append()
        assert (tmp_path / "user_session.db").exists()

    def test_components_find_the_database_the_program_named(self, tmp_path: Path) -> None:
        """The SDK's UserSession is a singleton: components call UserSession() with no argument."""
        UserSession._instance = None
        UserSession._initialized = False
        UserSession(make_url("sqlite:///named.db"))
        by_hand()
        inside = UserSession()
        inside.append({"query": Message(1)})
        inside._post_append()
        assert (tmp_path / "named.db").exists()
        assert not (tmp_path / "user_session.db").exists()

    def test_two_databases(self) -> None:
        first, second = UserSession("sqlite:///1.db"), UserSession("sqlite:///2.db")
        by_hand()
        first.append({"query": Message("one")})
        first._post_append()
        assert said(first) == ["one"]
        assert said(second) == []

    def test_a_turn_is_one_transaction_and_kept_when_it_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store = FlakyStore(MemoryStore())
        session = UserSession()
        monkeypatch.setattr(session, "_open_store", lambda: store)
        by_hand()
        session.append({"query": Message(1), "answer": Message(2)})
        store.fail("commit")
        with pytest.raises(StoreUnavailable):
            session._post_append()
        session._post_append()
        assert store.calls["commit"] == 2
        assert said(session) == [1]
        session.append({"query": Message("again")})

    def test_messages_come_back_whole(self) -> None:
        session = UserSession("sqlite:///foo.db")
        by_hand()
        answer = AnswerMessage(content="text", extra={"search_db": [1]}, token_usage={"total_tokens": 3})
        stream = Message(iter(["a", "b"]))
        session.append({"answer": answer, "stream": stream})
        list(stream.content)
        session._post_append()
        (got,) = session.get_history("answer")
        assert isinstance(got, AnswerMessage)
        assert (got.id, got.mtype) == (answer.id, "str")
        assert (got.extra, got.token_usage) == (answer.extra, answer.token_usage)
        assert said(session, "stream") == ["ab"]


class TestInARuntime:
    def test_always_the_runtimes_own_store(self, tmp_path: Path) -> None:
        UserSession("sqlite:///elsewhere.db")
        store = MemoryStore()
        context = in_runtime(store)
        for session in (UserSession(), UserSession("sqlite:///mine.db")):
            session.append({f"key-{id(session)}": Message("x")})
            assert said(session, f"key-{id(session)}") == [], "the runtime writes, at the end of the request"
        assert len(context.session_vars_dict) == 2
        assert UserSession._configured is not None
        assert str(UserSession._configured.database).endswith("elsewhere.db")
        assert list(tmp_path.iterdir()) == []

    def test_post_append_leaves_it_to_the_runtime(self) -> None:
        store = FlakyStore(MemoryStore())
        context = in_runtime(store)
        session = UserSession()
        session.append({"query": Message(1)})
        session._post_append()
        assert store.calls["commit"] == 0
        assert list(context.session_vars_dict) == ["query"]


class TestWhatAppendRefuses:
    @pytest.fixture(params=["local", "hand", "runtime"])
    def context(self, request: pytest.FixtureRequest) -> SessionContext:
        if request.param == "local":
            return context_var.get()
        return by_hand() if request.param == "hand" else in_runtime(MemoryStore())

    @pytest.mark.parametrize("key", [
        "_appbuilder.turn", "_appbuilder.", 5, None, b"k", "k" * 129, "a\x00b", "\n", "\x7f", "\x9f",
        "\ud800",
    ])
    def test_keys(self, context: SessionContext, key: Any) -> None:
        with pytest.raises(ValueError):
            UserSession().append({"good": Message(1), key: Message(2)})
        assert context.session_vars_dict == {}

    @pytest.mark.parametrize("value", ["text", None, {"content": 1}])
    def test_what_is_no_message(self, context: SessionContext, value: Any) -> None:
        with pytest.raises(ValueError, match="Message"):
            UserSession().append({"good": Message(1), "bad": value})
        assert context.session_vars_dict == {}

    def test_a_key_twice(self, context: SessionContext) -> None:
        session = UserSession()
        session.append({"query": Message(1)})
        if context.is_local:
            session.append({"query": Message(2)})
            assert said(session) == [1, 2]
            return
        with pytest.raises(KeyError):
            session.append({"new": Message(1), "query": Message(2)})
        assert list(context.session_vars_dict) == ["query"]

    @pytest.mark.parametrize("key", ["_appbuilder", "x_appbuilder.turn", "k" * 128, "键", "😀", ""])
    def test_keys_that_are_fine(self, context: SessionContext, key: str) -> None:
        UserSession().append({key: Message(1)})


@pytest.mark.parametrize(("key", "limit"), [(5, 1), (None, 1), ("k", "1"), ("k", None), ("k", 1.5)])
def test_get_history_of_the_wrong_type(key: Any, limit: Any) -> None:
    with pytest.raises(ValueError, match="get_history takes"):
        UserSession().get_history(key, limit)


@pytest.mark.parametrize("key", ["a\x00b", "\ud800", "k" * 129])
def test_get_history_of_a_key_nobody_can_have(key: str) -> None:
    by_hand()
    assert UserSession("sqlite:///foo.db").get_history(key) == []


@pytest.mark.parametrize("config", [5, b"sqlite://", object(), "no url"])
def test_a_wrong_configuration_is_a_value_error(config: Any) -> None:
    with pytest.raises(ValueError):
        UserSession(config)


def test_importing_it_is_light() -> None:
    code = "import sys; from appbuilder import UserSession; UserSession(); " \
           "print([m for m in sys.modules if m.startswith(('sqlalchemy', 'flask', 'sqlite3'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_same_object_by_both_names() -> None:
    assert appbuilder.UserSession is UserSession


class TestSessionMessage:
    def test_a_program_queries_and_adds(self) -> None:
        store = open_store("sqlite:///orm.db")
        store.prepare()
        engine = create_engine("sqlite:///orm.db")
        with Session(engine) as session:
            session.add(SessionMessage(
                session_id="s", request_id="r", message_key="query", message_value={"content": "by hand"},
            ))
            session.commit()
            row = session.scalars(select(SessionMessage).where(SessionMessage.session_id == "s")).one()
            assert len(row.id) == 36
            assert row.deleted is False
        assert contents(store, "s") == ["by hand"]
        engine.dispose()
        store.close()

    def test_it_makes_the_same_table(self) -> None:
        engine = create_engine("sqlite:///orm.db")
        SessionMessage.metadata.create_all(engine)
        engine.dispose()
        assert fetch("sqlite:///orm.db", "SELECT name FROM sqlite_master WHERE type = 'table'") == [
            ("appbuilder_session_messages",)
        ]
