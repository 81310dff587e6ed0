"""Database URLs: what is accepted, which driver each takes, and how one is shown without its password."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from appbuilder.errors import ConfigurationError

DEFAULT = "sqlite:///user_session.db"
PLACES = "the database URL (--database, APPBUILDER_DATABASE or user_session_config)"
"""What errors call the URL: with all the places it may come from."""
_PLACES = PLACES[0].upper() + PLACES[1:]


@dataclass(frozen=True, slots=True)
class _Driver:
    name: str
    module: str
    extra: str
    aliases: frozenset[str]
    """Driver names of SQLAlchemy that programs may have used for the same server."""


_SQLITE = _Driver("sqlite+pysqlite", "sqlite3", "", frozenset({"pysqlite"}))
_POSTGRES = _Driver("postgresql+psycopg", "psycopg", "postgres", frozenset({"psycopg", "psycopg2"}))
_MYSQL = _Driver("mysql+pymysql", "pymysql", "mysql", frozenset({"pymysql", "mysqldb", "mysqlconnector"}))
_MARIADB = _Driver("mariadb+pymysql", "pymysql", "mysql", _MYSQL.aliases)
_ENCODINGS = {
    "postgresql": ("client_encoding",),
    "mysql": ("charset", "collation", "use_unicode"),
    "mariadb": ("charset", "collation", "use_unicode"),
}
"""Options of a URL that would say what text is on a connection: it is always UTF-8, by what each database
calls that. Many examples have ``?charset=utf8``, which on MySQL holds no emoji."""
_DRIVERS = {
    "sqlite": _SQLITE,
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
    "mysql": _MYSQL,
    "mariadb": _MARIADB,
}


def parse(config: Any = None) -> URL:
    """The URL with the driver we use, a SQLite file by its absolute path.

    :param config: a SQLAlchemy URL as str or ``sqlalchemy.engine.URL``; None is :data:`DEFAULT`.
    :raises ConfigurationError: not a URL, a database we do not speak, or its driver is not installed.
    """
    url = _url(DEFAULT if config is None else config)
    backend, _, driver = url.drivername.partition("+")
    known = _DRIVERS.get(backend)
    if known is None:
        raise ConfigurationError(
            f"{_PLACES}: there is no store for {backend!r}; "
            "use a URL that begins with sqlite://, postgresql://, mysql:// or mariadb://."
        )
    if driver and driver not in known.aliases:
        raise ConfigurationError(
            f"{_PLACES}: the driver {driver!r} is not supported; write {known.name}:// instead."
        )
    if find_spec(known.module) is None:
        raise ConfigurationError(
            f"{backend} needs its driver: pip install 'appbuilder-runtime[{known.extra}]'"
        )
    if known is _SQLITE and url.host:
        raise ConfigurationError(
            f"{_PLACES}: a SQLite file takes three slashes, or four where its path begins with one: "
            "sqlite:///user_session.db, sqlite:////srv/user_session.db."
        )
    if known in (_MYSQL, _MARIADB) and not url.database:
        raise ConfigurationError(f"{_PLACES}: it names no database; write {known.name}://user@host/database.")
    url = url.set(drivername=known.name).difference_update_query(_ENCODINGS.get(url.get_backend_name(), ()))
    return _absolute(url) if known is _SQLITE else url


def _url(config: Any) -> URL:
    if isinstance(config, URL):
        return config
    if not isinstance(config, str):
        raise ConfigurationError(
            f"{_PLACES} must be a str, a sqlalchemy.engine.URL or None, not {type(config).__name__}."
        )
    try:
        url = make_url(config)
    except (exc.ArgumentError, ValueError):
        url = None
    if url is None or _cut_in_its_password(url):
        # The text itself is not repeated: it may hold a password.
        raise ConfigurationError(
            f"{_PLACES} is not a URL; write one like sqlite:///user_session.db "
            "or postgresql://user:password@host:5432/database (special characters percent-encoded)."
        )
    return url


def _cut_in_its_password(url: URL) -> bool:
    """An @ in a password that is not percent-encoded: the rest of it stands where the host should."""
    return bool(url.password) and "@" in f"{url.host}{url.database}"


def _absolute(url: URL) -> URL:
    if in_memory(url) or url.query.get("uri"):
        return url
    # Two spellings of one file must share one writer, and a later chdir must not change the file.
    return url.set(database=os.path.realpath(url.database or ""))


def file_to_make(url: URL) -> str:
    """The path of the file that SQLite makes for *url* if it is missing; empty: it makes none."""
    name = url.database or ""
    if in_memory(url) or url.get_backend_name() != "sqlite":
        return ""
    if not url.query.get("uri"):
        return name
    # https://www.sqlite.org/uri.html
    if not name.startswith("file:") or "vfs" in url.query or url.query.get("mode", "rwc") != "rwc":
        return ""
    name = name.removeprefix("file:").partition("#")[0].partition("?")[0]
    if name.startswith("//"):
        name = "/" + name[2:].partition("/")[2]
    return os.path.realpath(unquote(name))


def in_memory(url: URL) -> bool:
    """True for a SQLite database without a file."""
    if url.get_backend_name() != "sqlite":
        return False
    name = url.database or ""
    return name in ("", ":memory:") or name.startswith("file::memory:") or url.query.get("mode") == "memory"


def show(url: URL) -> str:
    """The URL for a person: no password, and no query, which may hold one."""
    return url.set(query={}).render_as_string(hide_password=True)


def scrub(text: str, url: URL) -> str:
    """*text* without the URL's password, in whatever form a driver may quote it."""
    secrets = [str(url.password)] if url.password else []
    secrets += [str(value) for name, value in url.query.items() if "pass" in name.lower()]
    for secret in secrets:
        for form in {secret, quote(secret), quote_plus(secret), repr(secret)[1:-1]} - {""}:
            text = text.replace(form, "***")
    return text
