"""The caches whose entries expire."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.callers import stopped_clock

from appbuilder.serve.auth.cache import ExpiringCache, SharedLookUps


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


def test_one_look_up_is_shared_and_outlives_the_request_that_began_it() -> None:
    asked: list[int] = []

    async def asks() -> None:
        cache: SharedLookUps[str, str] = SharedLookUps(60)
        may_answer = asyncio.Event()

        async def look_up() -> str:
            asked.append(1)
            await may_answer.wait()
            return "ann"

        first, *others = [asyncio.create_task(cache.get("a", look_up)) for _ in range(20)]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        may_answer.set()
        assert await asyncio.gather(*others) == ["ann"] * 19
        assert await cache.get("a", look_up) == "ann"

    asyncio.run(asks())
    assert len(asked) == 1


def test_a_look_up_holds_from_before_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    still = stopped_clock(monkeypatch)
    asked: list[int] = []

    async def slow() -> str:
        asked.append(1)
        still.now += 1.5
        return "ann"

    async def asks() -> None:
        cache: SharedLookUps[str, str] = SharedLookUps(2)
        assert await cache.get("a", slow) == "ann"
        still.now += 0.5
        assert await cache.get("a", slow) == "ann"

    asyncio.run(asks())
    assert len(asked) == 2


def test_a_look_up_that_fails_is_not_kept() -> None:
    async def asks() -> None:
        cache: SharedLookUps[str, str] = SharedLookUps(60)
        answers: list[Exception | str] = [OSError("away"), OSError("away"), "ann"]

        async def look_up() -> str:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        for _ in range(2):
            with pytest.raises(OSError, match="away"):
                await cache.get("a", look_up)
        assert await cache.get("a", look_up) == "ann"

    asyncio.run(asks())
