"""What kind of failure an error of a database is, and what to do about each kind; pure.

A driver's text may be in the server's language, so codes are asked first: SQLite's result codes, SQLSTATEs,
MySQL's error numbers. libpq gives no code where a connection is refused; then its English text decides.
"""

from __future__ import annotations

import errno
import sqlite3
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exc


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of failure.

    :param reason: a sentence without names, paths and values: any caller may read it.
    :param advice: what the operator does; ``{url}`` stands for where the database URL is set.
    :param permanent: the same value fails each time, so trying again does not help.
    """

    reason: str
    advice: str
    permanent: bool = False


NO_ANSWER = Kind(
    "The database does not answer.",
    "Start the server, or correct host and port in {url}.",
)
STARTING = Kind("The database server is starting or stopping.", "Wait until the server has started.")
WRONG_PASSWORD = Kind(
    "The database refuses the user or the password.",
    "Correct user and password in {url}. MariaDB and MySQL answer so, too, where the account requires TLS.",
)
WRONG_HOST = Kind(
    "The database server does not accept connections from this host.",
    "Allow this host, user and database on the server (PostgreSQL: pg_hba.conf; MariaDB and MySQL: the host "
    "part of the account). Where it only takes encrypted connections, ask for one in {url} "
    "(PostgreSQL: ?sslmode=require).",
)
TLS = Kind(
    "The encrypted connection to the database cannot be made.",
    "Correct the TLS options in {url} (PostgreSQL: sslmode, sslrootcert; MariaDB and MySQL: ssl_ca), or the "
    "certificate of the server.",
)
NO_DATABASE = Kind("The database does not exist.", "Create the database, or correct its name in {url}.")
NO_SCHEMA = Kind(
    "The schema of the database does not exist.",
    "Create the schema, or correct search_path of the user or in {url}; the user needs USAGE on the schema.",
)
NO_RIGHTS = Kind(
    "The database user lacks a right.",
    "Grant the user SELECT, INSERT, UPDATE and DELETE on the tables, and for the first start the right to "
    "create and change tables (PostgreSQL: USAGE and CREATE on the schema).",
)
TOO_MANY_CONNECTIONS = Kind(
    "The database server has no connection left.",
    "Raise max_connections of the server (or the limit of the user), or lower APPBUILDER_DB_POOL.",
)
POOL_EXHAUSTED = Kind(
    "All connections of this process to the database are in use.",
    "Find what keeps the connections busy (long transactions, locks), or raise APPBUILDER_DB_POOL.",
)
DISK_FULL = Kind("The disk of the database is full.", "Free space on the disk of the database.")
READ_ONLY = Kind(
    "The database is read-only.",
    "Make it writable: the permissions of a file and its folder; on a server read_only or "
    "default_transaction_read_only. A standby takes no turns: name the primary server in {url}.",
)
DAMAGED = Kind(
    "The database is damaged, or is not a database.",
    "Restore it from a backup, or correct {url}.",
)
NO_TABLE = Kind(
    "A table or a column of the database is missing.",
    "Start the service again, which makes missing tables, or restore the database from a backup.",
)
LOCKED = Kind(
    "The database is locked, or too slow.",
    "Find what holds the lock: another program's transaction that does not end, a backup, a migration.",
)
CANNOT_OPEN = Kind(
    "The database file cannot be opened.",
    "Check that the file and its folder exist and that this user may read and write both.",
)
DISK_ERROR = Kind(
    "The disk of the database fails, or has reached a limit.",
    "Check the disk and the file system of the database, quotas, and the limit on the size of files "
    "(ulimit -f).",
)
BAD_OPTION = Kind(
    "The database URL has an option that cannot be used.", "Correct the options after ? in {url}."
)
NO_PACKAGE = Kind("A package for the database is missing.", "Install the package that the error names.")
BAD_VALUE = Kind(
    "The database cannot hold a value.",
    "Nothing to do on the database: trying again with the same value fails again.",
    permanent=True,
)
OTHER = Kind("The database failed.", "See the log of the database server, or correct {url}.")


_SQLITE = {
    3: NO_RIGHTS,  # SQLITE_PERM
    5: LOCKED,  # SQLITE_BUSY
    6: LOCKED,
    8: READ_ONLY,
    10: DISK_ERROR,
    11: DAMAGED,  # SQLITE_CORRUPT
    13: DISK_FULL,
    14: CANNOT_OPEN,
    15: LOCKED,  # SQLITE_PROTOCOL
    18: BAD_VALUE,  # SQLITE_TOOBIG
    20: BAD_VALUE,  # SQLITE_MISMATCH
    26: DAMAGED,  # SQLITE_NOTADB
}
# Where the driver gives no code.
_SQLITE_TEXTS = (
    ("no such table", NO_TABLE), ("no such column", NO_TABLE), ("has no column", NO_TABLE),
    ("is locked", LOCKED), ("locking protocol", LOCKED), ("readonly database", READ_ONLY),
    ("is full", DISK_FULL), ("malformed", DAMAGED), ("not a database", DAMAGED),
    ("unable to open", CANNOT_OPEN), ("disk I/O error", DISK_ERROR), ("too big", BAD_VALUE),
)  # fmt: skip

_SQLSTATES = {
    "28P01": WRONG_PASSWORD, "28000": WRONG_PASSWORD, "3D000": NO_DATABASE, "3F000": NO_SCHEMA,
    "42501": NO_RIGHTS, "42P01": NO_TABLE, "42703": NO_TABLE, "53300": TOO_MANY_CONNECTIONS,
    "53100": DISK_FULL, "53400": TOO_MANY_CONNECTIONS, "25006": READ_ONLY, "55P03": LOCKED, "57014": LOCKED,
    "40P01": LOCKED, "57P03": STARTING, "57P01": STARTING, "57P02": STARTING, "58030": DISK_ERROR,
    "58P01": DAMAGED, "XX001": DAMAGED, "XX002": DAMAGED,
}  # fmt: skip
# The first two characters of others.
_SQLSTATE_CLASSES = {"08": NO_ANSWER, "22": BAD_VALUE, "54": BAD_VALUE}

_MYSQL = {
    1021: DISK_FULL, 1114: DISK_FULL, 1030: DISK_ERROR,
    1034: DAMAGED, 1194: DAMAGED, 1712: DAMAGED, 1877: DAMAGED,
    1040: TOO_MANY_CONNECTIONS, 1203: TOO_MANY_CONNECTIONS, 1226: TOO_MANY_CONNECTIONS,
    1044: NO_RIGHTS, 1142: NO_RIGHTS, 1143: NO_RIGHTS, 1227: NO_RIGHTS, 1370: NO_RIGHTS,
    1045: WRONG_PASSWORD, 1251: WRONG_PASSWORD, 1698: WRONG_PASSWORD, 1862: WRONG_PASSWORD,
    2059: WRONG_PASSWORD, 3118: WRONG_PASSWORD, 4151: WRONG_PASSWORD,
    1049: NO_DATABASE, 1046: NO_DATABASE, 1129: WRONG_HOST, 1130: WRONG_HOST,
    1146: NO_TABLE, 1054: NO_TABLE, 1932: NO_TABLE,
    1205: LOCKED, 1213: LOCKED, 1317: LOCKED, 1969: LOCKED, 3024: LOCKED,
    1290: READ_ONLY, 1036: READ_ONLY, 1792: READ_ONLY, 1836: READ_ONLY,
    0: NO_ANSWER, 1053: STARTING, 1927: NO_ANSWER,
    1153: BAD_VALUE, 1264: BAD_VALUE, 1300: BAD_VALUE, 1366: BAD_VALUE, 1406: BAD_VALUE, 4025: BAD_VALUE,
    2026: TLS, 3159: TLS,
}  # fmt: skip
_MYSQL_LOST = range(2000, 3000)
_MYSQL_JSON = range(3140, 3159)
"""A value that its JSON type does not take, too deep for instance."""

# libpq's, of a connection that was not made.
_CONNECT_TEXTS = (
    ("password authentication failed", WRONG_PASSWORD), ("no password supplied", WRONG_PASSWORD),
    ("authentication failed", WRONG_PASSWORD),
    ("no pg_hba.conf entry", WRONG_HOST), ("pg_hba.conf rejects", WRONG_HOST),
    ("too many clients", TOO_MANY_CONNECTIONS), ("too many connections", TOO_MANY_CONNECTIONS),
    ("connection slots are reserved", TOO_MANY_CONNECTIONS), ("no more connections", TOO_MANY_CONNECTIONS),
    ("query_wait_timeout", TOO_MANY_CONNECTIONS),
    ("permission denied", NO_RIGHTS), ("no such user", WRONG_PASSWORD), ('role "', WRONG_PASSWORD),
    ("no such database", NO_DATABASE), ('database "', NO_DATABASE),
    ("system is starting up", STARTING), ("system is shutting down", STARTING), ("recovery mode", STARTING),
    ("not yet accepting connections", STARTING),
    ("invalid sslmode", BAD_OPTION), ("invalid connection option", BAD_OPTION),
    ("invalid port", NO_ANSWER), ("invalid integer value", BAD_OPTION), ("uri query parameter", BAD_OPTION),
    ("unrecognized configuration parameter", BAD_OPTION), ("invalid command-line argument", BAD_OPTION),
    ("unsupported startup parameter", BAD_OPTION), ("invalid value for parameter", BAD_OPTION),
    ("ssl", TLS), ("certificate", TLS),
)  # fmt: skip
_CONNECT_CODES = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.EPIPE)
_ERRNO = {
    errno.ENOSPC: DISK_FULL, errno.EDQUOT: DISK_FULL, errno.EFBIG: DISK_FULL, errno.EROFS: READ_ONLY,
    errno.EACCES: CANNOT_OPEN, errno.EPERM: CANNOT_OPEN, errno.ENOENT: CANNOT_OPEN, errno.EIO: DISK_ERROR,
    errno.EMFILE: OTHER, **dict.fromkeys(_CONNECT_CODES, NO_ANSWER),
}  # fmt: skip


def cause_of(error: BaseException) -> Any:
    """The driver's own error, of which SQLAlchemy's may be a wrapper."""
    return getattr(error, "orig", None) or error


def mysql_number(cause: BaseException) -> int | None:
    """The error number of MySQL or MariaDB; None: it is another driver's error."""
    number = cause.args[0] if cause.args else None
    return number if type(cause).__module__.startswith("pymysql") and isinstance(number, int) else None


def kind_of(error: BaseException) -> Kind:
    """The kind of an error that SQLAlchemy, a driver or the system raised."""
    if isinstance(error, exc.TimeoutError):
        return POOL_EXHAUSTED
    cause = cause_of(error)
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause)
    number = mysql_number(cause)
    if number is not None:
        return _of_mysql(number)
    state = getattr(cause, "sqlstate", None)
    if state is not None:
        return _SQLSTATES.get(state) or _SQLSTATE_CLASSES.get(state[:2], OTHER)
    if type(cause).__module__.startswith("psycopg"):
        return _of_psycopg(cause)
    return _of_python(cause)


def _of_sqlite(cause: sqlite3.Error) -> Kind:
    code = getattr(cause, "sqlite_errorcode", None)
    found = _SQLITE.get(code & 0xFF) if isinstance(code, int) else None
    return found or _of_text(str(cause), _SQLITE_TEXTS, OTHER)


def _of_mysql(number: int) -> Kind:
    found = _MYSQL.get(number)
    if found is not None:
        return found
    if number in _MYSQL_JSON:
        return BAD_VALUE
    return NO_ANSWER if number in _MYSQL_LOST else OTHER


def _of_psycopg(cause: Any) -> Kind:
    """Of an error that psycopg or libpq raised without the server."""
    name = type(cause).__name__
    if name == "DataError":
        return BAD_VALUE
    return _of_text(str(cause), _CONNECT_TEXTS, OTHER if name == "ProgrammingError" else NO_ANSWER)


def _of_text(text: str, table: tuple[tuple[str, Kind], ...], otherwise: Kind) -> Kind:
    lower = text.lower()
    return next((kind for part, kind in table if part.lower() in lower), otherwise)


def _of_python(cause: BaseException) -> Kind:
    if isinstance(cause, OSError):
        return _ERRNO.get(cause.errno or 0, NO_ANSWER if cause.errno is None else OTHER)
    if isinstance(cause, ImportError) or (isinstance(cause, RuntimeError) and "package" in str(cause)):
        return NO_PACKAGE
    if isinstance(cause, (TypeError, exc.ArgumentError)):
        return BAD_OPTION
    if isinstance(cause, ValueError):
        return BAD_VALUE
    return OTHER
