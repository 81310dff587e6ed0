"""/ready of a real service: 503 with the reason where a turn could not be stored, 200 where one can."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.process.server import Server
from tests.process.serving import serve_target

APP = "def answer(message: str) -> str:\n    return message\n"
BOUND = 10.0
"""Seconds within which an answer of /ready must be there, and the end of a fault be seen."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ready")
    (made / "app.py").write_text(APP)
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serve_target("app.py:answer", folder, DB_TIMEOUT="1") as server:
        yield server


@contextlib.contextmanager
def another(folder: Path) -> Iterator[sqlite3.Connection]:
    """Another program that uses the database."""
    with contextlib.closing(sqlite3.connect(folder / "chat.db", isolation_level=None)) as connection:
        yield connection


def ready(server: Server) -> tuple[int, str]:
    """Status and message, in bounded time."""
    began = time.monotonic()
    answer = server.request("GET", "/ready")
    assert time.monotonic() - began < BOUND
    return answer.status, str(answer.json()["message"])


def recovers(server: Server) -> None:
    server.wait_ready("/ready", BOUND)
    assert server.chat("again").status == 200


def test_a_lock_of_another_program(server: Server, folder: Path) -> None:
    assert ready(server) == (200, "")
    with another(folder) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert server.chat("x").status == 503
        assert ready(server) == (503, "Not ready: The database is locked, or too slow.")
        assert server.request("GET", "/health").status == 200
    recovers(server)


def test_another_file_in_its_place(server: Server, folder: Path) -> None:
    with another(folder) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (folder / "chat.db").rename(folder / "good")
    (folder / "chat.db").write_text("not a database " * 1000)
    assert server.chat("x").status == 503
    status, text = ready(server)
    assert (status, text) == (503, "Not ready: The database is damaged, or is not a database.")
    assert str(folder) not in text
    (folder / "chat.db").unlink()
    (folder / "good").rename(folder / "chat.db")
    recovers(server)
    assert "Turns can be stored again." in server.log


def test_keys_that_cannot_be_looked_up(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    with serve_target("app.py:answer", tmp_path, "--auth", "keys", DB_TIMEOUT="1") as server:
        assert ready(server) == (200, "")
        with another(tmp_path) as connection:
            connection.execute("ALTER TABLE appbuilder_keys RENAME TO appbuilder_keys_gone")
            unknown = {"Authorization": f"Bearer ab_{'0' * 12}_{'A' * 43}"}
            assert server.chat("x", headers=unknown).status == 503
            assert server.log.count("No key can be looked up") == 1
            status, said = ready(server)
            assert (status, said.startswith("Not ready: ")) == (503, True)
            assert "appbuilder" not in said
            connection.execute("ALTER TABLE appbuilder_keys_gone RENAME TO appbuilder_keys")
        server.wait_ready("/ready", BOUND)
        assert server.chat("x", headers=unknown).status == 401
