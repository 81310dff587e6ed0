"""The table of conversations as an ORM class, for programs that query it themselves."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import DeclarativeBase, Mapped

from appbuilder.store.sessions import message_table


class Base(DeclarativeBase):
    """The declarative base of this table alone."""

    metadata = message_table.metadata


class SessionMessage(Base):
    """One row of ``appbuilder_session_messages``.

    ``id`` is a random uuid4 and both times are now (UTC, without a zone) where they are not given;
    ``message_value`` is the message's members as JSON; ``deleted`` rows are in no history.
    """

    __table__ = message_table.messages

    if TYPE_CHECKING:
        id: Mapped[str]
        session_id: Mapped[str]
        request_id: Mapped[str]
        message_key: Mapped[str]
        message_value: Mapped[Any]
        created_at: Mapped[datetime]
        updated_at: Mapped[datetime]
        deleted: Mapped[bool]
