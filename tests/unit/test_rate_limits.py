"""How much one caller may begin, and the program's own word on it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.callers import Clock, documented, stopped_clock

from appbuilder import clock
from appbuilder.engine.turn_request import TurnRequest
from appbuilder.errors import ConfigurationError, Forbidden, NotFound, RateLimited, ServiceUnavailable
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.http import rate_limits
from appbuilder.serve.http.rate_limits import Buckets, Limits, caller_key
from appbuilder.settings import Settings

ANN, BOB = Identity("ann", "user:ann"), Identity("bob", "user:bob")


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stopped_clock(monkeypatch)


class Counts:
    """Tokens by session."""

    def __init__(self, **tokens: int) -> None:
        self.tokens = tokens
        self.since: list[datetime] = []

    def tokens_since(self, session_id: str, since: datetime) -> int:
        self.since.append(since)
        return self.tokens.get(session_id, 0)


def limited(rate: int = 0, hook: Any = None, counts: Counts | None = None) -> Limits:
    return Limits(Settings(rate=rate), counts or Counts(), hook)


def check(passed: Limits, identity: Identity = ANN, session_id: str = "s") -> None:
    asyncio.run(passed.check(identity, TurnRequest("hi", session_id)))


def test_without_limits_there_is_nothing_to_pass() -> None:
    assert not limited().any
    assert limited(rate=1).any
    assert limited(hook=print).any


# The rate


def test_a_caller_has_his_rate_and_a_burst(still: Clock) -> None:
    passed = limited(rate=60)
    for _ in range(10):
        check(passed)
    with pytest.raises(RateLimited) as refused:
        check(passed)
    assert refused.value.retry_after == pytest.approx(1)
    check(passed, BOB)
    still.now += refused.value.retry_after
    check(passed)
    with pytest.raises(RateLimited):
        check(passed)


def test_a_small_rate_lets_one_begin(still: Clock) -> None:
    passed = limited(rate=1)
    check(passed)
    with pytest.raises(RateLimited) as refused:
        check(passed)
    assert refused.value.retry_after == pytest.approx(60)


@given(
    rate=st.integers(1, 10_000),
    steps=st.lists(st.tuples(st.floats(0, 100), st.sampled_from("ab")), max_size=100),
)
def test_in_no_stretch_of_time_is_there_more_than_the_burst_and_the_rate(
    rate: int, steps: list[tuple[float, str]]
) -> None:
    buckets, now, taken = Buckets(rate), 0.0, []
    for pause, key in steps:
        now += pause
        wait = buckets.take(key, now)
        assert wait >= 0
        if wait == 0:
            taken.append((now, key))
        else:
            assert buckets.take(key, now + wait + 1e-6) == 0, "who waits as long as he is told may come"
            now += wait + 1e-6
            taken.append((now, key))
    for key in "ab":
        times = [time for time, each in taken if each == key]
        for first, began in enumerate(times):
            for last in range(first, len(times)):
                most = max(1, rate / 6) + (times[last] - began) * rate / 60
                assert last - first + 1 <= most + 1e-3


def visitor(name: str, peer: str = "10.0.0.5") -> Identity:
    return Identity(name, f"visitor:{name}", peer=peer)


def test_new_cookies_are_no_new_rates(still: Clock) -> None:
    passed = limited(rate=6)
    for number in range(10):
        check(passed, visitor(f"{number}"))
    for who in (visitor("new"), visitor("newer", "::ffff:10.0.0.5")):
        with pytest.raises(RateLimited):
            check(passed, who)
    check(passed, visitor("elsewhere", "10.0.0.6"))
    check(passed, Identity("anonymous", "anonymous", peer="10.0.0.5"))
    still.now += 1.0
    check(passed, visitor("new"))


def test_a_visitor_has_his_own_rate_and_takes_no_other_s(still: Clock) -> None:
    passed = limited(rate=6)
    check(passed, visitor("a"))
    for _ in range(20):
        with pytest.raises(RateLimited) as refused:
            check(passed, visitor("a"))
        assert refused.value.retry_after == pytest.approx(10)
    for name in "bcdefghij":
        check(passed, visitor(name))


def test_cookies_without_number_drive_nobody_out(still: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MOST_CALLERS", 12)
    passed = limited(rate=6)
    check(passed, ANN)
    for number in range(100):
        with suppress(RateLimited):
            check(passed, visitor(f"{number}"))
    with pytest.raises(RateLimited):
        check(passed, ANN)


def test_callers_are_forgotten_and_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MOST_CALLERS", 3)
    buckets = Buckets(1)
    for key in "abcd":
        assert buckets.take(key, 0) == 0
    assert buckets.take("d", 0) > 0
    assert buckets.take("a", 0) == 0
    assert len(buckets._left) == 3


def test_who_is_counted_together() -> None:
    def nobody(peer: str) -> str:
        return caller_key(Identity("anonymous", "anonymous", peer=peer))

    assert nobody("10.0.0.5") != nobody("10.0.0.6")
    assert nobody("2001:db8::1") == nobody("2001:db8::ffff:1")
    assert nobody("2001:db8::1") != nobody("2001:db8:0:1::1")
    assert nobody("::ffff:10.0.0.5") != nobody("::ffff:10.0.0.6")
    assert nobody("") == ""
    assert caller_key(ANN) == "user:ann"


# The program's own word


def test_so_many_tokens_per_session_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 11, 21, 16, 45, 3, 5))
    counts = Counts(full=100_000, nearly=99_999)
    passed = limited(hook=documented("limits.md", "within_budget"), counts=counts)
    check(passed, session_id="nearly")
    check(passed, session_id="new")
    with pytest.raises(RateLimited) as refused:
        check(passed, session_id="full")
    assert refused.value.retry_after == 3600
    assert set(counts.since) == {datetime(2026, 11, 21)}, "since midnight, UTC"


@pytest.mark.parametrize("word", [None, True])
def test_a_hook_that_lets_a_turn_begin(word: object) -> None:
    check(limited(hook=lambda *_: word))


@pytest.mark.parametrize(
    ("word", "told"), [(False, "does not take"), ("", "does not take"), ("No more.", "No more.")]
)
def test_a_hook_that_refuses(word: object, told: str) -> None:
    async def later(*_: object) -> object:
        return word

    for hook in (lambda *_: word, later):
        with pytest.raises(Forbidden, match=told):
            check(limited(hook=hook))


@pytest.mark.parametrize("word", [0, 1, {}, b"no", []])
def test_a_hook_that_says_something_else(word: object) -> None:
    with pytest.raises(ConfigurationError, match="APPBUILDER_TURN_HOOK"):
        check(limited(hook=lambda *_: word))


def test_a_hook_is_not_asked_about_another_s_session() -> None:
    asked: list[str] = []

    def guard() -> bool:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()  # it blocks
        raise NotFound("There is no such session.")

    passed = limited(hook=lambda _, session_id, __: asked.append(session_id))
    with pytest.raises(NotFound):
        asyncio.run(passed.check(ANN, TurnRequest("hi", "bob's"), guard))
    asyncio.run(passed.check(ANN, TurnRequest("hi", "ann's"), lambda: True))
    assert asked == ["ann's"]


def test_a_hook_that_fails_lets_nothing_begin() -> None:
    def hook(*_: object) -> None:
        raise KeyError("secret")

    with pytest.raises(ServiceUnavailable):
        check(limited(hook=hook))


def test_a_hook_knows_who_asks_and_is_not_asked_beyond_the_rate(still: Clock) -> None:
    asked: list[tuple[Identity, str]] = []
    passed = limited(rate=1, hook=lambda identity, session_id, _: asked.append((identity, session_id)))
    check(passed, session_id="one")
    with pytest.raises(RateLimited):
        check(passed, session_id="two")
    assert asked == [(ANN, "one")]
