"""Keys, live runs of all workers, and transcripts of clients that resend the whole history.

What has to be found fast is a constraint, not an index: it comes with its table, in one statement.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Boolean, Column, Text, UniqueConstraint
from sqlalchemy.schema import SchemaItem

from appbuilder.store.sessions.message_table import ID_LENGTH, text_type, time_type

revision = "0001"
down_revision = None

HASH_LENGTH = 64
NAME_LENGTH = 255
STATE_LENGTH = 16


def upgrade() -> None:
    _make(
        "appbuilder_keys",
        Column("id", text_type(ID_LENGTH), primary_key=True),
        Column("name", text_type(NAME_LENGTH), nullable=False),
        # NULL once the key is revoked: what makes names one of a kind among the others.
        Column("live_name", text_type(NAME_LENGTH), unique=True),
        Column("owner", text_type(NAME_LENGTH), nullable=False),
        Column("administrator", Boolean, nullable=False),
        Column("digest", text_type(HASH_LENGTH), nullable=False),
        Column("created_at", time_type(), nullable=False),
        Column("revoked_at", time_type()),
    )
    _make(
        "appbuilder_runs",
        Column("id", text_type(ID_LENGTH), primary_key=True),
        Column("worker_id", text_type(ID_LENGTH), nullable=False),
        Column("session_id", text_type(ID_LENGTH), nullable=False),
        Column("request_id", text_type(ID_LENGTH), nullable=False),
        # As JSON, so that any text can be kept.
        Column("owner", Text, nullable=False),
        Column("started_at", time_type(), nullable=False),
        Column("state", text_type(STATE_LENGTH), nullable=False),
        Column("stop", Boolean, nullable=False),
        UniqueConstraint("worker_id", "id"),
    )
    _make(
        "appbuilder_workers",
        Column("id", text_type(ID_LENGTH), primary_key=True),
        Column("name", text_type(NAME_LENGTH), nullable=False),
        Column("seen_at", time_type(), nullable=False),
    )
    _make(
        "appbuilder_transcripts",
        Column("session_id", text_type(ID_LENGTH), primary_key=True),
        Column("owner", text_type(HASH_LENGTH), nullable=False),
        Column("digest", text_type(HASH_LENGTH), nullable=False),
        Column("seen_at", time_type(), nullable=False),
        UniqueConstraint("owner", "digest", "session_id"),
        UniqueConstraint("seen_at", "session_id"),
    )


def _make(name: str, *columns: SchemaItem) -> None:
    # MySQL commits each table by itself: a start that was broken off may have made some.
    op.create_table(
        name, *columns, if_not_exists=True, mysql_engine="InnoDB", mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
