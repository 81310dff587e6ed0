"""What /ready says, and what that costs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from appbuilder.errors import ServiceUnavailable, StoreUnavailable
from appbuilder.serve.http import readiness
from appbuilder.serve.http.readiness import Readiness


class Database:
    """Counts its probes; fails with ``error``, and hangs until ``free`` is set."""

    def __init__(self) -> None:
        self.probes = 0
        self.failures = 0
        self.error: Exception | None = None
        self.free = threading.Event()
        self.free.set()

    def check(self, timeout: float) -> None:
        self.probes += 1
        self.free.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def ready(database: Database) -> Callable[[], str]:
    """What is in the way; empty: nothing."""
    asked = Readiness(database.check, lambda: database.failures)

    async def ask() -> str:
        try:
            await asked.check()
        except ServiceUnavailable as error:
            return str(error)
        return ""

    return lambda: asyncio.run(ask())


def test_many_who_ask_at_once_and_soon_after_share_one_probe(database: Database) -> None:
    asked = Readiness(database.check, lambda: database.failures)

    async def many() -> None:
        database.free.clear()
        asking = [asyncio.create_task(asked.check()) for _ in range(500)]
        await asyncio.sleep(0)
        database.free.set()
        await asyncio.gather(*asking)
        await asked.check()

    asyncio.run(many())
    assert database.probes == 1


def test_the_reason_and_nothing_else_is_told(database: Database, ready: Callable[[], str]) -> None:
    database.error = StoreUnavailable("postgresql://u@h failed", reason="The database is read-only.")
    assert ready() == "Not ready: The database is read-only."


def test_an_error_without_a_reason(database: Database, ready: Callable[[], str]) -> None:
    database.error = ValueError("/path/of/file")
    assert ready() == "Not ready: The database failed."


def test_who_asks_waits_no_longer_than_a_deadline(
    database: Database, ready: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "DEADLINE", 0.05)
    database.free.clear()
    assert ready() == ready() == "Not ready: The database did not answer within 3 seconds."
    assert database.probes == 1
    database.free.set()


def test_a_failed_turn_ends_what_was_known(database: Database, ready: Callable[[], str]) -> None:
    assert ready() == ready() == ""
    assert database.probes == 1
    database.failures += 1
    database.error = StoreUnavailable("x", reason="The disk of the database is full.")
    assert "full" in ready()
    assert database.probes == 2


def test_the_end_of_a_fault_is_seen(
    database: Database, ready: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "ILL_FOR", 0.0)
    database.error = StoreUnavailable("x", reason="The database does not answer.")
    assert ready()
    database.error = None
    assert ready() == ""


def test_what_is_logged_is_what_changed(
    database: Database, ready: Callable[[], str], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(readiness, "ILL_FOR", 0.0)
    caplog.set_level("INFO", logger="appbuilder")
    database.error = StoreUnavailable("the details", reason="The database does not answer.")
    ready(), ready()
    database.error = None
    ready(), ready()
    assert [record.getMessage() for record in caplog.records if "stored" in record.getMessage()] == [
        "No turn can be stored: the details", "Turns can be stored again."
    ]
