"""Whose a session is: owner against caller, for a turn and for the session routes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.memory_store import MemoryStore
from tests.unit.callers import stopped_clock

from appbuilder.core.conversations import Owner
from appbuilder.core.store import TurnEntry, TurnRecord
from appbuilder.errors import Forbidden, NotFound
from appbuilder.ids import new_id
from appbuilder.serve.auth.authorization import (
    check_listing,
    may_continue,
    may_see,
    reported_user,
    require_session,
    session_check,
)
from appbuilder.serve.auth.cache import ExpiringCache
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.http.state import KNOWN_FOR, Service
from appbuilder.settings import Settings

OWNERS: list[Owner] = [
    None, "local", "anonymous", "visitor:1", "visitor:2", "user:ann", "user:bob", "user:local"
]
LOCAL = Identity("local", "local", sees_all_others=True)
CALLERS = [
    LOCAL, Identity("anonymous", "anonymous", peer="10.0.0.5"), Identity("1", "visitor:1"),
    Identity("ann", "user:ann"), Identity("ada", "user:ada", sees_all_others=True),
    Identity("local", "user:local"), Identity("anonymous", "user:anonymous"),
]


def service_of(store: MemoryStore, **given: Any) -> Service:
    known: ExpiringCache[str, bool] = ExpiringCache(KNOWN_FOR)
    return cast(Service, SimpleNamespace(store=store, settings=Settings(**given), known=known))


def store_with(session_id: str, owner: Owner) -> MemoryStore:
    store = MemoryStore()
    kept = None if owner is None else TurnEntry(new_id(), owner, "title", {"input": {}, "answer": {}})
    rows = [("query", {"content": "hi"})] if owner is None else []
    store.commit(TurnRecord(session_id, new_id(), rows, kept))
    return store


@given(
    owner=st.sampled_from(OWNERS), caller=st.sampled_from(CALLERS), auth=st.sampled_from(["keys", ""]),
    strangers=st.booleans(),
)
def test_the_matrix(owner: Owner, caller: Identity, auth: str, strangers: bool) -> None:
    own = owner == caller.owner
    nobodys = owner is None and caller.sees_all_others
    service = service_of(store_with("s", owner), auth=auth, allow_anonymous=strangers and not auth)
    guard = session_check(service, caller, "s")
    assert guard is not None
    assert may_continue(caller, owner) == (own or nobodys)
    assert may_see(caller, owner) == (own or caller.sees_all_others)
    if own or nobodys:
        assert guard() is True
    else:
        with pytest.raises(NotFound, match=r"^There is no such session\.$"):
            guard()
    if own or caller.sees_all_others:
        assert require_session(service, caller, "s").owner == owner
    else:
        with pytest.raises(NotFound, match=r"^There is no such session\.$"):
            require_session(service, caller, "s")


@given(caller=st.sampled_from(CALLERS))
def test_a_session_that_is_not_there_is_anybody_s_to_begin(caller: Identity) -> None:
    service = service_of(store_with("s", "user:ann"), auth="keys")
    guard = session_check(service, caller, "new")
    assert guard is not None
    assert guard() is (caller.owner == "local")
    with pytest.raises(NotFound, match=r"^There is no such session\.$"):
        require_session(service, caller, "new")


def test_a_session_known_to_be_the_local_user_s_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    still = stopped_clock(monkeypatch)
    service = service_of(store_with("s", "local"))
    asked = session_check(service, LOCAL, "s")
    assert asked is not None
    assert asked() is True
    assert session_check(service, LOCAL, "s") is None
    assert session_check(service, Identity("ann", "user:ann"), "s") is not None
    still.now += KNOWN_FOR
    assert session_check(service, LOCAL, "s") is not None, "another process may have deleted it"


@pytest.mark.parametrize("session_id", ["s", "not there"])
def test_where_the_local_user_is_let_in_he_is_not_asked_about_again(session_id: str) -> None:
    service = service_of(store_with("s", None))
    guard = session_check(service, LOCAL, session_id)
    assert guard is not None
    assert guard() is True
    assert session_check(service, LOCAL, session_id) is None
    assert session_check(service, Identity("ann", "user:ann"), session_id) is not None


@pytest.mark.parametrize("owner", ["visitor:1", "user:local"])
def test_what_is_somebody_else_s_is_asked_about_each_time(owner: Owner) -> None:
    service = service_of(store_with("s", owner))
    for _ in range(2):
        guard = session_check(service, LOCAL, "s")
        assert guard is not None
        with pytest.raises(NotFound):
            guard()


@given(caller=st.sampled_from(CALLERS))
def test_a_new_session_is_asked_about_when_it_goes_on(caller: Identity) -> None:
    service = service_of(MemoryStore())
    assert session_check(service, caller, "s", new=True) is None
    assert session_check(service, caller, "s") is not None


def test_the_guard_sees_what_came_meanwhile() -> None:
    store = MemoryStore()
    guard = session_check(service_of(store, auth="keys"), Identity("ann", "user:ann"), "s")
    assert guard is not None
    assert guard() is False
    bobs = TurnEntry(new_id(), "user:bob", "", {"input": {}, "answer": {}})
    store.commit(TurnRecord("s", new_id(), [], bobs))
    with pytest.raises(NotFound):
        guard()


def test_lists_are_for_those_we_know() -> None:
    for caller in CALLERS:
        if caller.owner == "anonymous":
            with pytest.raises(Forbidden):
                check_listing(caller)
        else:
            check_listing(caller)


@pytest.mark.parametrize(
    ("auth", "caller", "told"),
    [("keys", CALLERS[3], "ann"), ("keys", CALLERS[4], "bob"), ("", LOCAL, "bob"), ("", CALLERS[1], "bob")],
)
def test_who_has_shown_who_he_is_is_nobody_else(auth: str, caller: Identity, told: str) -> None:
    service = service_of(MemoryStore(), auth=auth)
    assert reported_user(service, caller, "bob") == told
    assert reported_user(service, caller, None) == caller.name
