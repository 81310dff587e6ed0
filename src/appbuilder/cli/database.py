"""The database a verb works on."""

from __future__ import annotations

from pathlib import Path

from appbuilder.errors import ConfigurationError
from appbuilder.settings import Settings
from appbuilder.store.sessions.session_store import SqlStore


def open_database(settings: Settings, *, must_exist: bool = True) -> SqlStore:
    """The settings' database, ready for lists of sessions and for keys.

    :param must_exist: a SQLite file is not made where there is none.
    :raises ConfigurationError: it cannot be reached, or is not there.
    """
    from appbuilder.store.databases import urls
    from appbuilder.store.sessions.open_stores import open_store

    store = open_store(settings.database, settings)
    if must_exist and store.url.get_backend_name() == "sqlite" and not store.url.query.get("uri"):
        if urls.in_memory(store.url):
            raise ConfigurationError("A database in memory is empty in each process; name one: --database.")
        if not Path(store.url.database or "").is_file():
            raise ConfigurationError(f"There is no database at {store.url.database}; name one: --database.")
    store.prepare_service()
    store.prepare_conversations()
    return store
