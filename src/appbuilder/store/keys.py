"""API keys in SQL: of each only a hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from appbuilder import clock
from appbuilder.core.keys import ApiKey
from appbuilder.errors import InvalidRequest
from appbuilder.store.listing import Execute
from appbuilder.store.rows import storable
from appbuilder.store.service_schema import KEYS
from appbuilder.store.service_tables import ServiceTables

LONGEST_NAME = 255

_FORM = re.compile(r"ab_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_COLUMNS = "id, name, owner, administrator, created_at, revoked_at"


class SqlKeys:
    """:class:`appbuilder.core.keys.Keys` in the database of the service.

    The secret has 256 random bits, so that a plain SHA-256 of it tells nothing; a slow hash, made for
    passwords, would only slow each request down.
    """

    def __init__(self, tables: ServiceTables) -> None:
        self._tables = tables

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
        return any(self._update(revoke + which, (at, name_or_id)) for which in ("id = ?", "live_name = ?"))

    def _update(self, sql: str, values: tuple[Any, ...]) -> bool:
        return self._tables.transact("a key was revoked", lambda execute: bool(execute(sql, values).rowcount))

    def find(self, secret: str) -> ApiKey | None:
        form = _FORM.fullmatch(secret)
        found = self._look_up(form[1]) if form is not None else None
        return found[0] if found is not None and hmac.compare_digest(found[1], _digest(secret)) else None

    def by_id(self, key_id: str) -> ApiKey | None:
        found = self._look_up(key_id)
        return None if found is None else found[0]

    def check(self) -> None:
        self._look_up("")

    def _look_up(self, key_id: str) -> tuple[ApiKey, str] | None:
        """The key that holds, and the digest of its secret."""
        sql = f"SELECT {_COLUMNS}, digest FROM {KEYS} WHERE id = ? AND revoked_at IS NULL"  # noqa: S608
        for *row, digest in self._tables.read("a key was looked up", sql, (key_id,)):
            return self._key(row), digest
        return None

    def _key(self, row: Sequence[Any]) -> ApiKey:
        key_id, name, user, administrator, created_at, revoked_at = row
        decode = self._tables.backend.decode
        revoked: datetime | None = None if revoked_at is None else decode(revoked_at)
        return ApiKey(key_id, name, user, bool(administrator), decode(created_at), revoked)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _checked(what: str, text: str) -> str:
    text = text.strip()
    if not text or len(text) > LONGEST_NAME or not text.isprintable():
        raise InvalidRequest(f"The {what} of a key must be 1 to {LONGEST_NAME} printable characters.")
    return text
