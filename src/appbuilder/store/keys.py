"""API keys in SQL: of each only a hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from appbuilder import clock
from appbuilder.core.keys import ApiKey
from appbuilder.errors import InvalidRequest
from appbuilder.store.listing import Execute
from appbuilder.store.rows import storable
from appbuilder.store.service_schema import KEYS
from appbuilder.store.service_tables import ServiceTables

REMEMBERED = 5.0
"""Seconds a key that was found is not looked up again, and so may outlive its revocation elsewhere."""
REFUSED = 1.0
"""Seconds a text that is no key is not looked up again."""
MOST_REMEMBERED = 10_000
LONGEST_NAME = 255

_FORM = re.compile(r"ab_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_COLUMNS = "id, name, owner, administrator, created_at, revoked_at"

_T = TypeVar("_T")


class SqlKeys:
    """:class:`appbuilder.core.keys.Keys` in the database of the service.

    The secret has 256 random bits, so that a plain SHA-256 of it tells nothing; a slow hash, made for
    passwords, would only slow each request down.
    """

    def __init__(self, tables: ServiceTables) -> None:
        self._tables = tables
        self._found: _Remembered[ApiKey] = _Remembered(REMEMBERED)
        self._refused: _Remembered[bool] = _Remembered(REFUSED)

    def add(self, name: str, user: str, *, administrator: bool = False) -> tuple[ApiKey, str]:
        name, user = _checked("name", name), _checked("user", user)
        key = ApiKey(secrets.token_hex(6), name, user, administrator, clock.now())
        secret = f"ab_{key.id}_{secrets.token_urlsafe(32)}"
        created_at = self._tables.backend.encode(key.created_at)

        def work(execute: Execute) -> bool:
            taken = execute(f"SELECT 1 FROM {KEYS} WHERE live_name = ?", (name,))  # noqa: S608
            if taken.fetchone() is not None:
                return False
            columns = "id, name, live_name, owner, administrator, digest, created_at"
            execute(
                f"INSERT INTO {KEYS} ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                (key.id, name, name, user, administrator, _digest(secret), created_at),
            )
            return True

        if not self._tables.transact("a key was made", work):
            raise InvalidRequest(f"There is a key named {name} already: revoke it, or take another name.")
        return key, secret

    def list(self) -> Sequence[ApiKey]:
        sql = f"SELECT {_COLUMNS} FROM {KEYS} ORDER BY created_at, id"  # noqa: S608
        return [self._key(row) for row in self._tables.read("keys were listed", sql)]

    def revoke(self, name_or_id: str) -> bool:
        at = self._tables.backend.encode(clock.now())
        revoke = f"UPDATE {KEYS} SET live_name = NULL, revoked_at = ? WHERE revoked_at IS NULL AND "  # noqa: S608
        if not storable(name_or_id, LONGEST_NAME):
            return False
        revoked = any(self._update(revoke + which, (at, name_or_id)) for which in ("id = ?", "live_name = ?"))
        self._found.clear()
        return revoked

    def _update(self, sql: str, values: tuple[Any, ...]) -> bool:
        return self._tables.transact("a key was revoked", lambda execute: bool(execute(sql, values).rowcount))

    def find(self, secret: str) -> ApiKey | None:
        form = _FORM.fullmatch(secret)
        if form is None:
            return None
        digest = _digest(secret)
        known = self._found.get(digest)
        if known is not None or self._refused.get(digest):
            return known
        key = self._look_up(form[1], digest)
        if key is None:
            self._refused.put(digest, True)
        else:
            self._found.put(digest, key)
        return key

    def check(self) -> None:
        self._look_up("", "")

    def _look_up(self, key_id: str, digest: str) -> ApiKey | None:
        sql = f"SELECT {_COLUMNS}, digest FROM {KEYS} WHERE id = ? AND revoked_at IS NULL"  # noqa: S608
        for *row, stored in self._tables.read("a key was looked up", sql, (key_id,)):
            if hmac.compare_digest(stored, digest):
                return self._key(row)
        return None

    def _key(self, row: Sequence[Any]) -> ApiKey:
        key_id, name, user, administrator, created_at, revoked_at = row
        decode = self._tables.backend.decode
        revoked: datetime | None = None if revoked_at is None else decode(revoked_at)
        return ApiKey(key_id, name, user, bool(administrator), decode(created_at), revoked)


class _Remembered(Generic[_T]):
    """Answers for some seconds; the oldest go when there are too many."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._answers: dict[str, tuple[float, _T]] = {}

    def get(self, name: str) -> _T | None:
        until, answer = self._answers.get(name, (0.0, None))
        return answer if clock.monotonic() < until else None

    def put(self, name: str, answer: _T) -> None:
        with self._lock:
            self._answers.pop(name, None)
            self._answers[name] = (clock.monotonic() + self._seconds, answer)
            while len(self._answers) > MOST_REMEMBERED:
                del self._answers[next(iter(self._answers))]

    def clear(self) -> None:
        with self._lock:
            self._answers.clear()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _checked(what: str, text: str) -> str:
    text = text.strip()
    if not text or len(text) > LONGEST_NAME or not text.isprintable():
        raise InvalidRequest(f"The {what} of a key must be 1 to {LONGEST_NAME} printable characters.")
    return text
