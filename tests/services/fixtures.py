"""Fixtures: the database servers, and an empty database on each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL, make_url

from tests.services.servers import MariaServer, PostgresServer, Server

SERVERS = ("postgresql", "mariadb")
DATABASES = ("sqlite", *SERVERS)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test run."""
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaServer]:
    """A MariaDB server of this test run."""
    server = MariaServer()
    yield server
    server.remove()


def server_of(request: pytest.FixtureRequest, kind: str) -> Server:
    """The server of a kind, started at its first use."""
    server: Server = request.getfixturevalue({"postgresql": "postgres", "mariadb": "mariadb"}[kind])
    return server


def empty_database(request: pytest.FixtureRequest, kind: str, folder: Path) -> URL:
    """A new database of a kind."""
    if kind == "sqlite":
        return make_url(f"sqlite:///{folder}/sessions.db")
    return server_of(request, kind).new_database()


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """The URL of an empty database; a test that takes it runs on SQLite, PostgreSQL and MariaDB."""
    return empty_database(request, request.param, tmp_path)
