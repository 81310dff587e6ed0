"""Tables that only the service has, and how they are brought up to date.

The revisions stand in :mod:`appbuilder.store.service.migrations`; Alembic notes the newest in a table of its
own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, inspect, text

from appbuilder.errors import ConfigurationError
from appbuilder.logs import only_errors_of
from appbuilder.store.conversations.queries import SERVICE_INDEXES
from appbuilder.store.databases import create_tables
from appbuilder.store.databases.base import Backend

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

KEYS = "appbuilder_keys"
RUNS = "appbuilder_runs"
WORKERS = "appbuilder_workers"
TRANSCRIPTS = "appbuilder_transcripts"
VERSIONS = "appbuilder_alembic_version"


def bring_up(backend: Backend) -> None:
    """Makes or changes the tables where they are not those of this release, with one process at a time.

    :raises ConfigurationError: Alembic is not installed; a newer release has changed the tables.
    """
    backend.alter(_is_behind, _bring_up)


def revision(connection: Connection) -> str:
    """The newest revision that was applied; empty: none."""
    if not inspect(connection).has_table(VERSIONS):
        return ""
    found: Any = connection.execute(text(f"SELECT version_num FROM {VERSIONS}")).scalar()  # noqa: S608
    return str(found or "")


def newest() -> str:
    """The newest revision of this release.

    :raises ConfigurationError: Alembic is not installed.
    """
    return str(_script().get_current_head())


def _script() -> ScriptDirectory:
    config = _config()
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(config)


def _is_behind(connection: Connection) -> bool:
    script = _script()
    present = revision(connection)
    known = {each.revision for each in script.walk_revisions()}
    if present and present not in known:
        raise ConfigurationError(
            f"The database is of a newer release (its tables are at revision {present}): "
            "install that release or a later one, or use another database."
        )
    return present != script.get_current_head() or bool(create_tables.lacks(connection, _indexes(connection)))


def _bring_up(connection: Connection) -> None:
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    only_errors_of("alembic")
    command.upgrade(config, "head")
    create_tables.add(connection, _indexes(connection))


def _indexes(connection: Connection) -> Any:
    name = connection.dialect.name
    return SERVICE_INDEXES["mysql" if name == "mariadb" else name]


def _config() -> Config:
    try:
        from alembic.config import Config
    except ImportError:
        raise ConfigurationError(
            "The service needs Alembic for its tables: pip install 'appbuilder-runtime[serve]'"
        ) from None
    config = Config()
    # Percent signs are Alembic's for its own interpolation.
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
