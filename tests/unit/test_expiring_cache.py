"""The cache whose entries expire."""

from __future__ import annotations

import pytest
from tests.unit.callers import stopped_clock

from appbuilder.serve.cache import ExpiringCache


def test_it_is_bounded_and_the_oldest_go() -> None:
    cache: ExpiringCache[str, str] = ExpiringCache(60, most=3)
    for each in "abcad":
        cache.put(each, each)
    assert [each for each in "abcd" if cache.get(each)] == ["a", "c", "d"]
    cache.forget("a")
    cache.forget("never there")
    assert [each for each in "abcd" if cache.get(each)] == ["c", "d"]
    cache.clear()
    assert len(cache) == 0


def test_entries_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    still = stopped_clock(monkeypatch)
    cache: ExpiringCache[str, int] = ExpiringCache(2)
    cache.put("a", 1)
    still.now += 1
    assert cache.get("a") == 1
    cache.put("a", 2)
    still.now += 1.5
    assert cache.get("a") == 2
    still.now += 0.5
    assert cache.get("a") is None
