"""Errors of SQLAlchemy and the drivers, mapped once.

What a driver says may quote values, and so users' texts: only sentences known to be free of them are
passed on; otherwise the class and the code of the error.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import exc
from sqlalchemy.engine import URL

from appbuilder.errors import ConfigurationError, StoreUnavailable
from appbuilder.store import urls

# What SQLAlchemy, a driver, or reading a damaged row raises.
FAILURES = (exc.SQLAlchemyError, sqlite3.Error, OSError, ValueError)

# MySQL error numbers whose text names hosts, users, files and limits, never values.
_SAFE_MYSQL = frozenset({1021, 1040, 1044, 1045, 1049, 1053, 1114, 1130, 1205, 1213, 1290, 1317, 1927, 1969})


# What SQLite says of a whole file.
_SAFE_SQLITE = frozenset({"file is not a database", "database disk image is malformed"})


def is_busy(error: BaseException) -> bool:
    """True where SQLite only waits for a lock of somebody else."""
    if not isinstance(error, sqlite3.OperationalError):
        return False
    text = str(error)
    return "is locked" in text or "locking protocol" in text


def describe(error: BaseException, url: URL) -> str:
    """What went wrong, in one line without passwords and users' texts."""
    if isinstance(error, exc.TimeoutError):
        return "all connections are in use"
    cause: Any = getattr(error, "orig", None) or error
    name = type(cause).__name__
    if isinstance(cause, ValueError) and not isinstance(cause, sqlite3.Error):
        return f"{name} while a row was read or written"
    text = _safe_text(cause)
    return f"{name}: {urls.scrub(text, url)}" if text else name


def _safe_text(cause: Any) -> str:
    state = getattr(cause, "sqlstate", None)
    if state is not None:
        return f"SQLSTATE {state}"
    if isinstance(cause, sqlite3.OperationalError) or str(cause) in _SAFE_SQLITE:
        return str(cause)
    if isinstance(cause, OSError) or _is_connect_error(cause):
        return " ".join(str(cause).split())
    arguments = getattr(cause, "args", ())
    if arguments and isinstance(arguments[0], int):
        number = arguments[0]
        safe = number in _SAFE_MYSQL or 2000 <= number < 3000
        return " ".join(str(part) for part in arguments) if safe else str(number)
    return ""


def _is_connect_error(cause: Any) -> bool:
    """psycopg's own error without an SQLSTATE: the server was not reached, or was lost."""
    kind = type(cause)
    names = {"OperationalError", "ConnectionTimeout"}
    return kind.__module__.startswith("psycopg") and kind.__name__ in names


def unavailable(error: BaseException, url: URL, doing: str) -> StoreUnavailable:
    """The error to raise instead (``from None``, so that the driver's text stays out of tracebacks)."""
    if isinstance(error, StoreUnavailable):
        return error
    if isinstance(error, ConfigurationError):
        return StoreUnavailable(str(error))
    return StoreUnavailable(f"The database failed while {doing}: {describe(error, url)}")
