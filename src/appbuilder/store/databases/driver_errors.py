"""Errors of SQLAlchemy and the drivers, mapped once.

What a driver says may quote values, and so users' texts: only sentences known to be free of them are
passed on; otherwise the class and the code of the error.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Any

from sqlalchemy import exc
from sqlalchemy.engine import URL

from appbuilder.errors import AppBuilderError, ConfigurationError, StoreUnavailable, ValueNotStorable
from appbuilder.store.databases import failure_kinds, urls
from appbuilder.store.databases.failure_kinds import Kind, cause_of, kind_of, mysql_number

# What SQLAlchemy, a driver, or reading a damaged row raises.
FAILURES = (exc.SQLAlchemyError, sqlite3.Error, OSError, ValueError)

CONNECT_FAILURES = (*FAILURES, ImportError, RuntimeError, TypeError)
"""What there may be besides where the first connection is made: options the driver does not know, libraries
it lacks."""

# MySQL error numbers whose text names hosts, users, tables, files and limits, never values.
_SAFE_MYSQL = frozenset({
    1021, 1036, 1040, 1044, 1045, 1049, 1053, 1114, 1129, 1130, 1142, 1143, 1146, 1203, 1205, 1213, 1226,
    1227, 1251, 1290, 1317, 1370, 1698, 1792, 1836, 1927, 1969, 3159,
})  # fmt: skip

# As well SQLSTATEs of PostgreSQL.
_SAFE_STATES = frozenset({
    "25006", "28000", "28P01", "3D000", "3F000", "42501", "42P01", "53100", "53300", "57P03", "58030",
    "58P01", "XX001", "XX002",
})  # fmt: skip

# What SQLite says of a whole file.
_SAFE_SQLITE = frozenset({"file is not a database", "database disk image is malformed"})


failures: Counter[URL] = Counter()
"""How often something failed for each database's sake, in this process."""


def is_busy(error: BaseException) -> bool:
    """True where SQLite only waits for a lock of another process."""
    cause = cause_of(error)
    if not isinstance(cause, sqlite3.OperationalError):
        return False
    text = str(cause)
    return "is locked" in text or "locking protocol" in text


def describe(error: BaseException, url: URL) -> str:
    """What went wrong, in one line without passwords and users' texts."""
    if isinstance(error, exc.TimeoutError):
        return "all connections are in use"
    cause = cause_of(error)
    name = type(cause).__name__
    if isinstance(cause, ValueError) and not isinstance(cause, sqlite3.Error):
        return f"{name} while a row was read or written"
    text = _safe_text(cause)
    return f"{name}: {urls.scrub(text, url)}" if text else name


def _safe_text(cause: Any) -> str:
    number = mysql_number(cause)
    if number is not None:
        safe = number in _SAFE_MYSQL or 2000 <= number < 3000
        return " ".join(str(part) for part in cause.args) if safe else str(number)
    state = getattr(cause, "sqlstate", None)
    if state is not None:
        said = str(cause).partition("\n")[0] if state in _SAFE_STATES else ""
        return f"SQLSTATE {state} {said}".strip()
    if isinstance(cause, sqlite3.OperationalError) or str(cause) in _SAFE_SQLITE:
        return str(cause)
    if isinstance(cause, (OSError, ImportError, RuntimeError, TypeError)) or _is_connect_error(cause):
        return " ".join(str(cause).split())
    return ""


def _is_connect_error(cause: Any) -> bool:
    """psycopg's own error without an SQLSTATE: the server was not reached, or was lost, or an option in the
    URL is wrong."""
    kind = type(cause)
    names = {"OperationalError", "ConnectionTimeout", "ProgrammingError"}
    return kind.__module__.startswith("psycopg") and kind.__name__ in names


def unavailable(error: BaseException, url: URL, doing: str) -> AppBuilderError:
    """The error to raise instead (``from None``, so that the driver's text stays out of tracebacks): a
    StoreUnavailable, or a ValueNotStorable where to try again cannot help.
    """
    failures[url] += 1
    if isinstance(error, StoreUnavailable):
        return error
    if isinstance(error, ConfigurationError):
        return StoreUnavailable(str(error), reason=error.reason)
    kind = kind_of(error)
    text = f"The database failed while {doing}: {describe(error, url)}. {advice(kind)}"
    if kind.permanent:
        return ValueNotStorable(text)
    return StoreUnavailable(text, reason=kind.reason)


def unusable(error: BaseException, url: URL, kind: Kind | None = None) -> ConfigurationError:
    """The error where a database cannot be made ready: what happened, and what to do."""
    kind = kind or kind_of(error)
    if kind is failure_kinds.BAD_VALUE:  # no value is written yet
        kind = failure_kinds.OTHER
    if kind is failure_kinds.CANNOT_OPEN and url.get_backend_name() != "sqlite":
        kind = failure_kinds.BAD_OPTION  # the file of a certificate
    what = type(error).__name__ if type(error) is ValueError else describe(error, url)
    found = ConfigurationError(
        f"The database {urls.show(url)} cannot be used ({what}). {kind.reason} {advice(kind)}"
    )
    found.reason = kind.reason
    return found


def advice(kind: Kind) -> str:
    """What to do, with where the URL is set."""
    return kind.advice.replace("{url}", urls.PLACES)
