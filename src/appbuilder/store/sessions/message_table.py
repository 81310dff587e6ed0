"""The one table, as the AppBuilder SDK made it, and the indexes we add to it.

The columns, their order and types are those of files and databases that already exist; nothing else may
appear besides the table: no version table, and on SQLite neither AUTOINCREMENT nor ANALYZE, which would
make tables of their own.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Index,
    MetaData,
    String,
    Table,
)
from sqlalchemy.dialects import mysql

from appbuilder import clock
from appbuilder.ids import new_id

TABLE = "appbuilder_session_messages"
ID_LENGTH = 36
KEY_LENGTH = 128

metadata = MetaData()


def text_type(length: int) -> Any:
    """Text that is compared by code point: an id is opaque, and ``A`` is not ``a`` in any database."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def time_type() -> Any:
    """Microseconds everywhere: MySQL's plain DATETIME would round them away, and the order with them."""
    return DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


messages = Table(
    TABLE,
    metadata,
    Column("id", text_type(ID_LENGTH), primary_key=True, default=new_id),
    Column("session_id", text_type(ID_LENGTH), nullable=False),
    Column("request_id", text_type(ID_LENGTH), nullable=False),
    Column("message_key", text_type(KEY_LENGTH), nullable=False),
    Column("message_value", JSON, nullable=False),
    Column("created_at", time_type(), nullable=False, default=clock.now),
    Column("updated_at", time_type(), nullable=False, default=clock.now),
    Column("deleted", Boolean, nullable=False, default=False),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

# `history`: the newest messages under one key of a session.
HISTORY_INDEX = Index(
    "ix_appbuilder_history",
    messages.c.session_id,
    messages.c.message_key,
    messages.c.created_at,
    messages.c.id,
)
# `newest`: the time of a session's last row, asked in every write; and all rows of a session in order.
SESSION_INDEX = Index(
    "ix_appbuilder_session", messages.c.session_id, messages.c.created_at, messages.c.id
)
INDEXES = (HISTORY_INDEX, SESSION_INDEX)
