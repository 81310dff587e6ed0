"""What a store on a database server reports of itself in numbers."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import URL
from tests.store.conftest import Opener

from appbuilder import telemetry
from appbuilder.core.store import TurnRecord


class Measured(type(telemetry.NOBODY)):  # type: ignore[misc]
    """Keeps how many turns each commit had, and how often a connection was waited for."""

    def __init__(self) -> None:
        self.commits: list[int] = []
        self.waits = 0

    def committed(self, _seconds: float, turns: int) -> None:
        self.commits.append(turns)

    def pool_waited(self, _seconds: float) -> None:
        self.waits += 1


def test_a_commit_on_a_server_is_one_turn(
    monkeypatch: pytest.MonkeyPatch, database_url: URL, opened: Opener
) -> None:
    store = opened(database_url)
    store.prepare()
    measured = Measured()
    monkeypatch.setattr(telemetry, "current", measured)
    store.commit(TurnRecord("s", "r", [("k", {"content": "x"})]))
    assert measured.commits == [1]
    store.history("s", "k", 1)
    assert measured.waits
