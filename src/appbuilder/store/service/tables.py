"""The tables of the service as statements name them, and how they are read and written.

Their columns' lengths and constraints stand in the revisions, see :mod:`appbuilder.store.service.migrations`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    Boolean,
    ClauseElement,
    ColumnElement,
    Connection,
    Executable,
    TableClause,
    bindparam,
    column,
    literal_column,
    table,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import URL

from appbuilder.store.databases.base import Backend
from appbuilder.store.databases.driver_errors import FAILURES, unavailable
from appbuilder.store.service import schema
from appbuilder.store.sessions.message_table import time_type

_T = TypeVar("_T")


def _table(name: str, texts: str, times: str, flags: str = "") -> TableClause:
    return table(
        name,
        *(column(each) for each in texts.split()),
        *(column(each, time_type()) for each in times.split()),
        *(column(each, Boolean()) for each in flags.split()),
    )


KEYS = _table(
    schema.KEYS, "id name live_name owner digest", "created_at revoked_at", "administrator"
)
RUNS = _table(schema.RUNS, "id worker_id session_id request_id owner state", "started_at", "stop")
WORKERS = _table(schema.WORKERS, "id name", "seen_at")
TRANSCRIPTS = _table(schema.TRANSCRIPTS, "session_id owner digest", "seen_at")

_NOW = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
    "postgresql": "timezone('utc', clock_timestamp())",
}
_MYSQL_NOW = "UTC_TIMESTAMP(6)"


class ServiceTables:
    """The tables of the service in one database. Whatever fails there is a StoreUnavailable."""

    def __init__(self, url: URL, live: Callable[[], Backend]) -> None:
        """:param live: the connections of this process."""
        self._url = url
        self._live = live
        self.now: ColumnElement[Any] = literal_column(
            _NOW.get(url.get_backend_name(), _MYSQL_NOW), time_type()
        )
        """The database's own time, as the columns hold it: hosts' clocks may differ."""

    def read(self, doing: str, query: Executable) -> Sequence[Any]:
        """All rows of a query.

        :param doing: what failed if it fails, as in "a key was looked up".
        """
        try:
            return self._live().refresh(lambda connection: connection.execute(query).all())
        except FAILURES as error:
            raise unavailable(error, self._url, doing) from None

    def transact(self, doing: str, work: Callable[[Connection], _T]) -> _T:
        """Runs *work* in a transaction."""
        try:
            return self._live().transact(work)
        except FAILURES as error:
            raise unavailable(error, self._url, doing) from None

    def fast(self, statement: ClauseElement) -> tuple[str, Sequence[str]]:
        """The SQL of a statement that runs in many requests, compiled once, and the order of its parameters.

        To run one through SQLAlchemy takes 150 to 250 microseconds longer than its text on the driver.
        """
        dialect: Any = self._url.get_dialect()
        style = "qmark" if self._url.get_backend_name() == "sqlite" else "format"
        compiled: Any = statement.compile(dialect=dialect(paramstyle=style))
        return str(compiled), compiled.positiontup

    def read_fast(self, doing: str, sql: str, parameters: tuple[Any, ...]) -> Sequence[Any]:
        """All rows of a query that :meth:`fast` compiled."""
        try:
            return self.backend.read(sql, parameters)
        except FAILURES as error:
            raise unavailable(error, self._url, doing) from None

    @property
    def backend(self) -> Backend:
        return self._live()

    def upsert(self, into: TableClause, key: str) -> ClauseElement:
        """An INSERT of all columns that writes over the row with the same *key*."""
        row: dict[str, Any] = {name: bindparam(name) for name in into.c.keys()}  # noqa: SIM118 - not a dict
        others = [name for name in row if name != key]
        kind = self._url.get_backend_name()
        if kind not in _NOW:
            new = mysql.insert(into).values(**row)
            return new.on_duplicate_key_update({name: new.inserted[name] for name in others})
        made = (sqlite.insert if kind == "sqlite" else postgresql.insert)(into).values(**row)
        return made.on_conflict_do_update(
            index_elements=[key], set_={name: made.excluded[name] for name in others}
        )
