"""How the tables of the service are read and written: rarely, so in plain SQL with ``?`` for each value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy.engine import URL

from appbuilder.store.backend import Backend
from appbuilder.store.errors import FAILURES, unavailable
from appbuilder.store.listing import Execute

_T = TypeVar("_T")

_NOW = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
    "postgresql": "timezone('utc', clock_timestamp())",
}
_MYSQL_NOW = "UTC_TIMESTAMP(6)"


class ServiceTables:
    """The tables of the service in one database. Whatever fails there is a StoreUnavailable."""

    def __init__(self, url: URL, live: Callable[[], Backend]) -> None:
        """:param live: the connections of this process."""
        self.url = url
        self._live = live
        self.now = _NOW.get(url.get_backend_name(), _MYSQL_NOW)
        """The database's own time in SQL, as the columns hold it: hosts' clocks may differ."""

    @property
    def backend(self) -> Backend:
        return self._live()

    def read(self, doing: str, sql: str, parameters: tuple[Any, ...] = ()) -> Sequence[Any]:
        """All rows of a query.

        :param doing: what failed if it fails, as in "a key was looked up".
        """
        backend = self._live()
        try:
            return backend.read(sql.replace("?", backend.sql.mark), parameters)
        except FAILURES as error:
            raise unavailable(error, self.url, doing) from None

    def transact(self, doing: str, work: Callable[[Execute], _T]) -> _T:
        """Runs *work* in a transaction; what it executes may have ``?`` for values, too."""
        backend = self._live()
        mark = backend.sql.mark
        try:
            return backend.transact(
                lambda execute: work(lambda sql, values: execute(sql.replace("?", mark), values))
            )
        except FAILURES as error:
            raise unavailable(error, self.url, doing) from None

    def upsert(self, table: str, key: str, columns: Sequence[str]) -> str:
        """An INSERT of these columns that writes over the row with the same *key*."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        insert = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - names of ours
        others = [name for name in columns if name != key]
        if self.now == _MYSQL_NOW:
            values = ", ".join(f"{each} = VALUES({each})" for each in others)
            return f"{insert} ON DUPLICATE KEY UPDATE {values}"
        values = ", ".join(f"{each} = excluded.{each}" for each in others)
        return f"{insert} ON CONFLICT ({key}) DO UPDATE SET {values}"
