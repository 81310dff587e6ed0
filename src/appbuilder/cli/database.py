"""The database that a verb works on."""

from __future__ import annotations

from pathlib import Path

from appbuilder.errors import ConfigurationError
from appbuilder.settings import Settings
from appbuilder.store.sessions.session_store import SqlStore


def open_database(settings: Settings, *, must_exist: bool = True) -> SqlStore:
    """Opens the database of the settings, with the tables for sessions and keys.

    :param must_exist: do not create a missing SQLite file.
    :raises ConfigurationError: the database does not exist or cannot be reached.
    """
    from appbuilder.store.databases import urls
    from appbuilder.store.sessions.open_stores import open_store

    store = open_store(settings.database, settings)
    if must_exist and store.url.get_backend_name() == "sqlite" and not store.url.query.get("uri"):
        if urls.in_memory(store.url):
            raise ConfigurationError("An in-memory database is empty in each process. Pass --database.")
        if not Path(store.url.database or "").is_file():
            raise ConfigurationError(f"There is no database at {store.url.database}. Pass --database.")
    store.prepare_service()
    store.prepare_conversations()
    return store
