"""UserSession: what a component remembers of the session it serves."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from appbuilder.core.context import SessionContext, current_context, get_context
from appbuilder.core.message import Message, dump, resolve_content, restore
from appbuilder.core.store import RESERVED_PREFIX, SessionStore, TurnRecord
from appbuilder.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from appbuilder.store.sessions.session_store import SqlStore

MAX_KEY = 128


class UserSession:
    """Messages by key, kept for one session.

    Inside a runtime this is the runtime's own store, whatever is given here. In a session that
    :func:`appbuilder.core.context.init_context` made it is the configured database, opened when it is
    first needed. Elsewhere (``LOCAL-`` sessions) messages stay in memory.

    :param user_session_config: a SQLAlchemy URL as str or ``sqlalchemy.engine.URL``; None is the one
        given last in this process, or ``sqlite:///user_session.db``.
    :raises ConfigurationError: (a ValueError) *user_session_config* has another type, or is no URL of a
        database that is supported.
    """

    # Programs written for the SDK, where this class is a singleton, set these to None and False.
    _instance: ClassVar[Any] = None
    _initialized: ClassVar[Any] = False

    _configured: ClassVar[URL | None] = None

    def __init__(self, user_session_config: str | URL | None = None) -> None:
        self._url: URL | None = None
        if user_session_config is not None:
            from appbuilder.store.databases import urls

            self._url = urls.parse(user_session_config)
            context = current_context()
            # A request of a runtime must not change where programs outside of it write.
            if context is None or not context.in_runtime:
                UserSession._configured = self._url

    def get_history(self, key: str, limit: int = 10) -> list[Message[Any]]:
        """The newest *limit* messages of finished turns under *key* in this session, oldest first.

        What this request appended is not among them: it is written when the request ends.

        :raises ValueError: *key* is not a str, or *limit* not an int.
        :raises StoreUnavailable: the database did not answer in time or refused.
        """
        if not isinstance(key, str) or not isinstance(limit, int):
            raise ValueError("get_history takes a key (str) and a limit (int).")  # noqa: TRY004
        if limit <= 0:
            return []
        context = get_context()
        if context.is_local:
            return list(context.session_vars_dict.get(key, ())[-limit:])
        if len(key) > MAX_KEY or not _storable(key):
            return []
        members = self._store_of(context).history(context.session_id, key, limit, context.history_before)
        return [restore(each) for each in members]

    def append(self, message_dict: Mapping[str, Message[Any]]) -> None:
        """Keeps each message under its key, to be written when the request ends; all of them or none.

        :raises ValueError: a value is not a Message, or a key is not a str of at most 128 characters
            without control characters, or starts with ``_appbuilder.``.
        :raises KeyError: the key was already appended in this request.
        """
        context = get_context()
        kept = context.session_vars_dict
        for key, message in message_dict.items():
            _check(key, message)
            if not context.is_local and key in kept:
                raise KeyError(f"the key {key!r} was already appended in this request")
        for key, message in message_dict.items():
            if context.is_local:
                kept.setdefault(key, []).append(message)
            else:
                kept[key] = message

    def _post_append(self) -> None:
        """Writes what was appended; for programs that drive a session by hand. A runtime does it itself.

        :raises ConfigurationError: there is no session to write to: call ``init_context`` first.
        :raises StoreUnavailable: the database failed; what was appended is kept for another try.
        """
        context = get_context()
        if context.is_local:
            raise ConfigurationError("A LOCAL- session is not written: call init_context(...) first.")
        if context.in_runtime:
            return
        for message in context.session_vars_dict.values():
            resolve_content(message)
        rows = [(key, dump(message)) for key, message in context.session_vars_dict.items()]
        self._store_of(context).commit(TurnRecord(context.session_id, context.request_id, rows))
        context.session_vars_dict = {}

    def _store_of(self, context: SessionContext) -> SessionStore:
        return context.store if context.store is not None else self._open_store()

    def _open_store(self) -> SqlStore:
        """The store of the configured database; one per database and process."""
        from appbuilder.store.sessions.open_stores import open_store

        return open_store(self._url if self._url is not None else UserSession._configured)


def _check(key: object, message: object) -> None:
    # ValueError throughout, as in the SDK.
    if not isinstance(key, str):
        raise ValueError(f"a key must be a str, not {type(key).__name__}")  # noqa: TRY004
    if len(key) > MAX_KEY or not _storable(key):
        raise ValueError(f"a key has at most {MAX_KEY} characters, none of them a control character")
    if key.startswith(RESERVED_PREFIX):
        raise ValueError(f"keys that start with {RESERVED_PREFIX!r} are the runtime's own")
    if not isinstance(message, Message):
        found = type(message).__name__
        raise ValueError(f"the value of {key!r} must be a Message, not {found}")  # noqa: TRY004


def _storable(key: str) -> bool:
    """False for control characters and lone surrogates, which not every database can hold."""
    return key.isprintable() or not any(unicodedata.category(character) in {"Cc", "Cs"} for character in key)
