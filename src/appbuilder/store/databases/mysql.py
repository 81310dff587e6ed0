"""MariaDB and MySQL through PyMySQL."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

from pymysql.converters import escape_string
from sqlalchemy import Connection, Engine, event, exc

from appbuilder.errors import StoreUnavailable, ValueNotStorable
from appbuilder.logs import logger
from appbuilder.store.conversations import queries
from appbuilder.store.conversations.queries import ConversationSql
from appbuilder.store.databases import create_tables
from appbuilder.store.databases.client_server import (
    CONNECT_TIMEOUT,
    GRACE,
    PREPARE_TIMEOUT,
    ServerBackend,
    digest,
)
from appbuilder.store.databases.failure_kinds import BAD_VALUE, kind_of
from appbuilder.store.sessions import statements
from appbuilder.store.sessions.message_table import ID_LENGTH, KEY_LENGTH, TABLE
from appbuilder.store.sessions.rows import PreparedTurn

_TEXTS = {
    "id": ID_LENGTH,
    "session_id": ID_LENGTH,
    "request_id": ID_LENGTH,
    "message_key": KEY_LENGTH,
}


class MysqlBackend(ServerBackend):
    sql = statements.make("%s", upsert=statements.MYSQL_UPSERT)
    catalogue_indexes = queries.MYSQL_INDEXES
    conversation_sql = ConversationSql(queries.MYSQL)

    def options(self, timeout: float) -> dict[str, Any]:
        return {
            "connect_args": {
                "charset": "utf8mb4",
                "connect_timeout": max(1, min(CONNECT_TIMEOUT, int(timeout))),
                "read_timeout": timeout + GRACE,
                "write_timeout": timeout + GRACE,
            }
        }

    def listen(self, engine: Engine, timeout: float) -> None:
        def strict(connection: Any, _record: Any) -> None:
            with connection.cursor() as cursor:
                # Without strict mode a text that is too long would be cut and stored. NAMES again, as an
                # init_command of the URL or of the server may have set others.
                cursor.execute(
                    "SET NAMES utf8mb4, @@SESSION.sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')"
                )

        event.listen(engine, "connect", strict)

    @contextlib.contextmanager
    def transaction(self, connection: Connection, session_id: str) -> Iterator[None]:
        name = self._lock_name("session", session_id)
        with self._named_lock(connection, name, self._timeout):
            # Its snapshot is made by its first read, so under the lock.
            connection.exec_driver_sql("BEGIN")
            yield

    def explained(self, error: exc.DBAPIError, turn: PreparedTurn) -> Exception:
        """The server breaks the connection off where a statement is too long for it."""
        if not error.connection_invalidated and kind_of(error) is not BAD_VALUE:
            return error
        with contextlib.suppress(exc.SQLAlchemyError):
            most = int(self.read("SELECT @@max_allowed_packet", ())[0][0])
            longest = max(len(escape_string(text).encode()) for _, _, text in turn.rows)
            if longest + 2 * KEY_LENGTH > most:
                return ValueNotStorable(
                    f"A message of the turn takes {longest} bytes, and the server takes {most} in a "
                    "statement: raise its max_allowed_packet."
                )
        return error

    def _lock_name(self, *parts: str) -> str:
        # Names are the whole server's, of at most 64 characters, and may ignore case.
        return digest(str(self._url.database), *parts).hex()

    @contextlib.contextmanager
    def _named_lock(self, connection: Connection, name: str, timeout: float) -> Iterator[None]:
        got = connection.exec_driver_sql("SELECT GET_LOCK(%s, %s)", (name, math.ceil(timeout))).scalar()
        if got != 1:
            raise StoreUnavailable("Another process is writing to this session and does not finish.")
        try:
            yield
            connection.exec_driver_sql("DO RELEASE_LOCK(%s)", (name,))
        except BaseException:
            # It outlives the transaction and would go back to the pool with the connection.
            connection.invalidate()
            raise

    @contextlib.contextmanager
    def accelerated(self, connection: Connection, timeout: float) -> Iterator[None]:
        seconds = math.ceil(timeout)
        limit = "SET lock_wait_timeout = {0}, innodb_lock_wait_timeout = {0}"
        connection.exec_driver_sql(limit.format(seconds))
        yield
        # After an error the connection is given up, with the lock of the session.
        connection.exec_driver_sql(limit.format("DEFAULT"))

    def upgrade(self, connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver._read_timeout = PREPARE_TIMEOUT
        self._warn_of_lazy_commits(connection)
        if create_tables.is_complete(connection) and not self._alterations(connection):
            return
        with self.alone(connection):
            create_tables.make(connection)
            changes = self._alterations(connection)
            if changes:
                logger.info("Changing columns of %s: %s", TABLE, "; ".join(changes))
                connection.exec_driver_sql(f"ALTER TABLE {TABLE} {', '.join(changes)}")

    @contextlib.contextmanager
    def alone(self, connection: Connection) -> Iterator[None]:
        driver: Any = connection.connection.driver_connection
        driver._read_timeout = PREPARE_TIMEOUT
        with self._named_lock(connection, self._lock_name("schema"), PREPARE_TIMEOUT):
            yield
            connection.commit()

    def _warn_of_lazy_commits(self, connection: Connection) -> None:
        if connection.exec_driver_sql("SELECT @@innodb_flush_log_at_trx_commit").scalar() != 1:
            logger.warning(
                "The server runs with innodb_flush_log_at_trx_commit other than 1: "
                "a power cut may lose turns that were acknowledged."
            )

    def _alterations(self, connection: Connection) -> list[str]:
        """What an existing table needs: microseconds, ids compared by code point, values of any text and
        length."""
        present = {
            name: (kind.lower(), collation, charset)
            for name, kind, collation, charset in connection.exec_driver_sql(
                "SELECT COLUMN_NAME, COLUMN_TYPE, COLLATION_NAME, CHARACTER_SET_NAME "
                "FROM information_schema.COLUMNS "
                "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s",
                (TABLE,),
            )
        }
        collation = self._collation(connection)
        changes = [
            f"MODIFY {name} VARCHAR({length}) CHARACTER SET utf8mb4 COLLATE {collation} NOT NULL"
            for name, length in _TEXTS.items()
            if present[name][1] != collation
        ]
        changes += [
            f"MODIFY {name} DATETIME(6) NOT NULL"
            for name in ("created_at", "updated_at")
            if present[name][0] != "datetime(6)"
        ]
        kind, _, charset = present["message_value"]
        # MySQL's own JSON type has no character set. MariaDB's is a text with a check, and the check fails on
        # values nested deeper than 31.
        narrow = kind != "json" and (charset != "utf8mb4" or kind != "longtext")
        if narrow or (self._is_mariadb(connection) and self._checks_json(connection)):
            changes.append(
                "MODIFY message_value LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"
            )
        return changes

    def _collation(self, connection: Connection) -> str:
        """By code point and without padding: ``a`` is neither ``A`` nor ``a`` with a space."""
        if self._is_mariadb(connection):
            return "utf8mb4_nopad_bin"
        found = connection.exec_driver_sql("SHOW COLLATION LIKE 'utf8mb4_0900_bin'").first()
        return "utf8mb4_0900_bin" if found else "utf8mb4_bin"

    def _is_mariadb(self, connection: Connection) -> bool:
        return bool(getattr(connection.dialect, "is_mariadb", False))

    def _checks_json(self, connection: Connection) -> bool:
        row = connection.exec_driver_sql(f"SHOW CREATE TABLE {TABLE}").one()
        return "json_valid(`message_value`)" in row[1].lower()
