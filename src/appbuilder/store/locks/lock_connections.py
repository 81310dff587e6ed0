"""The connections the locks of sessions are held on: PostgreSQL's advisory locks, MySQL's named locks."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.engine import URL

from appbuilder.settings import Settings
from appbuilder.store.databases.client_server import ServerBackend, digest
from appbuilder.store.databases.driver_errors import unavailable
from appbuilder.store.locks.server_locks import LockConnection, LocksRefused, ServerLocks


def open_locks(url: URL, settings: Settings, backend: Callable[[], ServerBackend]) -> ServerLocks:
    """The locks of the sessions in a server's database.

    :param backend: how connections to it are made, in the process that asks.
    """
    timeout = max(1.0, settings.db_timeout)
    if url.get_backend_name() == "postgresql":
        return ServerLocks(lambda: PostgresLockConnection(url, backend()), _postgres_name, timeout)
    # Names are the whole server's.
    database = str(url.database)
    return ServerLocks(
        lambda: MysqlLockConnection(url, backend()),
        lambda session: digest(database, "turn", session).hex(),
        timeout,
    )


def _postgres_name(session_id: str) -> str:
    return str(int.from_bytes(digest("turn", session_id)[:8], "big", signed=True))


def _array(numbers: Sequence[str]) -> str:
    return f"'{{{','.join(numbers)}}}'::bigint[]"


class _LockConnection(LockConnection, ABC):
    def __init__(self, url: URL, backend: ServerBackend) -> None:
        self._url = url
        try:
            self._connection: Any = backend.connect_separately()
        except Exception as error:  # noqa: BLE001 - SQLAlchemy's and the driver's, raised as the package's
            raise unavailable(error, url, "a session was to be locked") from None

    def exchange(self, release: Sequence[str], take: Sequence[str]) -> Sequence[bool]:
        try:
            return self._exchange(release, take)
        except Exception as error:  # noqa: BLE001 - the driver's
            problem: Exception = unavailable(error, self._url, "sessions were locked")
        if self._is_open():
            # What it has nevertheless done of it is not known.
            with contextlib.suppress(Exception):
                self._exchange((*release, *take), ())
                problem = LocksRefused(str(problem))
        raise problem

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._connection.close()

    @abstractmethod
    def _exchange(self, release: Sequence[str], take: Sequence[str]) -> Sequence[bool]:
        """As ``exchange``; raises what the driver raises."""

    @abstractmethod
    def _is_open(self) -> bool:
        """Whether the driver still takes the connection for one."""


class PostgresLockConnection(_LockConnection):
    """Advisory locks of the connection; their numbers are not those of a write's lock."""

    def __init__(self, url: URL, backend: ServerBackend) -> None:
        super().__init__(url, backend)
        self._connection.prepare_threshold = None  # several statements in one message cannot be prepared

    def _exchange(self, release: Sequence[str], take: Sequence[str]) -> Sequence[bool]:
        # The numbers are our own; as parameters they would allow but one statement in the message.
        released = f"SELECT pg_advisory_unlock(n) FROM unnest({_array(release)}) n"  # noqa: S608
        taken = f"SELECT n, pg_try_advisory_lock(n) FROM unnest({_array(take)}) n"  # noqa: S608
        with self._connection.cursor() as cursor:
            cursor.execute(f"{released};{taken}" if release else taken)
            if release:
                cursor.nextset()
            got = dict(cursor.fetchall())
        return [got[int(name)] for name in take]

    def _is_open(self) -> bool:
        return not self._connection.closed

    def fileno(self) -> int:
        return -1 if self._connection.closed else int(self._connection.fileno())


class MysqlLockConnection(_LockConnection):
    """Named locks of the connection, of which MariaDB 10.0.2 and MySQL 5.7.5 allow many."""

    def _exchange(self, release: Sequence[str], take: Sequence[str]) -> Sequence[bool]:
        calls = [f"RELEASE_LOCK('{name}')" for name in release] + [f"GET_LOCK('{name}', 0)" for name in take]
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT " + (", ".join(calls) or "1"))
            answers = cursor.fetchone()[len(release) :] if calls else ()
        if None in answers:
            raise LocksRefused("The database gives no more locks.")
        return [answer == 1 for answer in answers]

    def _is_open(self) -> bool:
        return bool(self._connection.open)

    def fileno(self) -> int:
        socket = self._connection._sock
        return -1 if socket is None else int(socket.fileno())
