"""One store per database and process, so that a SQLite file has one writer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appbuilder.settings import Settings
from appbuilder.store.databases import urls
from appbuilder.store.sessions.session_store import SqlStore, process_lock

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_stores: dict[str, SqlStore] = {}


def open_store(config: str | URL | None = None, settings: Settings | None = None) -> SqlStore:
    """The store of the database *config*; the same object for the same database.

    Nothing is opened yet: :meth:`SqlStore.prepare` checks the database, otherwise its first use does.

    :param config: a SQLAlchemy URL; None is ``sqlite:///user_session.db`` in the current folder.
    :param settings: pool size and time-outs, taken by the first to open this database.
    :raises ConfigurationError: (a ValueError) of another type, not a URL, or without its driver.
    """
    url = urls.parse(config)
    key = url.render_as_string(hide_password=False)
    with process_lock():
        if key not in _stores:
            _stores[key] = SqlStore(url, settings or Settings.load())
        return _stores[key]
