"""Makes the table and its indexes where they are missing; an existing table keeps its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, inspect
from sqlalchemy.schema import CreateIndex, CreateTable

from appbuilder.errors import ConfigurationError
from appbuilder.store.sessions.message_table import INDEXES, TABLE, messages

_INDEXES = {str(index.name): index for index in INDEXES}


def is_complete(connection: Connection) -> bool:
    """True where there is nothing to make. Reads only, so that a start takes no lock as a rule."""
    if not inspect(connection).has_table(TABLE):
        return False
    _check_columns(connection)
    return not lacks(connection, _INDEXES)


def make(connection: Connection) -> None:
    """Creates what is missing. The caller holds a lock that keeps other processes from doing the same.

    :raises ConfigurationError: there is a table of that name, but with other columns.
    """
    if not inspect(connection).has_table(TABLE):
        connection.execute(CreateTable(messages))
    _check_columns(connection)
    for name in lacks(connection, _INDEXES):
        connection.execute(CreateIndex(_INDEXES[name]))


def lacks(connection: Connection, indexes: Iterable[str]) -> list[str]:
    """The names among *indexes* that are missing."""
    present = {index["name"] for index in inspect(connection).get_indexes(TABLE)}
    return [name for name in indexes if name not in present]


def add(connection: Connection, indexes: Mapping[str, str]) -> None:
    """Creates those that are missing, by name their columns in SQL, under the lock of :func:`make`."""
    for name in lacks(connection, indexes):
        connection.exec_driver_sql(f"CREATE INDEX {name} ON {TABLE} {indexes[name]}")


def _check_columns(connection: Connection) -> None:
    present = {column["name"] for column in inspect(connection).get_columns(TABLE)}
    lacking = [name for name in messages.c.keys() if name not in present]  # noqa: SIM118 - not a dict
    if lacking:
        raise ConfigurationError(
            f"The table {TABLE} lacks the columns {', '.join(lacking)}: it was made by another program. "
            "Use another database, or rename that table."
        )
