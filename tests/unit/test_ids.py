"""Ids: their forms, and what is known from them."""

from __future__ import annotations

import uuid

import pytest

from appbuilder import clock
from appbuilder.ids import derived_id, is_new_id, new_id, new_row_id


@pytest.mark.parametrize(("make", "version"), [(new_id, 4), (new_row_id, 7)])
def test_an_id_is_a_uuid_of_its_version(make: object, version: int) -> None:
    made = [make() for _ in range(1000)]  # type: ignore[operator]
    assert {uuid.UUID(each).version for each in made} == {version}
    assert {uuid.UUID(each).variant for each in made} == {uuid.RFC_4122}
    assert [str(uuid.UUID(each)) for each in made] == made
    assert all(map(is_new_id, made))
    assert len(set(made)) == len(made)


def test_ids_of_rows_are_in_the_order_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [0, 1, 1_721_000_000_000, 1_721_000_000_001, 2**48 - 1]
    made = []
    for time in times:
        monkeypatch.setattr(clock, "unix_milliseconds", lambda at=time: at)
        made.append(new_row_id())
    assert sorted(made) == made
    assert [int(each[:8] + each[9:13], 16) for each in made] == times


def test_what_is_guessed_from_the_time_are_not_the_74_random_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "unix_milliseconds", lambda: 1_721_000_000_000)
    made = {new_row_id() for _ in range(5000)}
    assert len({each[:14] for each in made}) == 1
    assert len({each[15:18] for each in made}) > 2000
    assert len({each[20:] for each in made}) == 5000


def test_what_is_none() -> None:
    mine = new_id()
    others = (derived_id("conversation", "x"), mine[:-1], mine + "0", f"{mine}\n", "A" + mine[1:], "", None)
    assert not any(map(is_new_id, (*others, uuid.UUID(mine))))


def test_a_derived_id_is_the_same_everywhere() -> None:
    assert derived_id("rating", "turn") == derived_id("rating", "turn")
    assert derived_id("rating", "turn") != derived_id("conversation", "turn")
    assert derived_id("rating", "turn")[:8] == derived_id("rating", "another")[:8]
    assert uuid.UUID(derived_id("rating", "turn")).version == 8
