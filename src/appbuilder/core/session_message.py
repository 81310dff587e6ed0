"""The table of conversations as an ORM class, for programs that query it themselves."""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase

from appbuilder.store import schema


class Base(DeclarativeBase):
    """The declarative base of this table alone."""

    metadata = schema.metadata


class SessionMessage(Base):
    """One row of ``appbuilder_session_messages``.

    ``id`` is a random uuid4 and both times are now (UTC, without a zone) where they are not given;
    ``message_value`` is the message's members as JSON; ``deleted`` rows are in no history.
    """

    __table__ = schema.messages
