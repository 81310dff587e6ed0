"""API keys in SQL: of each only a hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence

from sqlalchemy import Connection, literal, select

from appbuilder import clock
from appbuilder.core.api_keys import ApiKey
from appbuilder.errors import InvalidRequest
from appbuilder.store.service.tables import KEYS, ServiceTables
from appbuilder.store.sessions.rows import storable

LONGEST_NAME = 255

_FORM = re.compile(r"ab_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_COLUMNS = (KEYS.c.id, KEYS.c.name, KEYS.c.owner, KEYS.c.administrator, KEYS.c.created_at, KEYS.c.revoked_at)
_LIVE = KEYS.c.revoked_at.is_(None)


class SqlApiKeys:
    """:class:`appbuilder.core.api_keys.ApiKeys` in the database of the service.

    The secret has 256 random bits, so that a plain SHA-256 of it tells nothing; a slow hash, made for
    passwords, would only slow each request down.
    """

    def __init__(self, tables: ServiceTables) -> None:
        self._tables = tables

    def add(self, name: str, user: str, *, administrator: bool = False) -> tuple[ApiKey, str]:
        name, user = _checked("name", name), _checked("user", user)
        key = ApiKey(secrets.token_hex(6), name, user, administrator, clock.now())
        secret = f"ab_{key.id}_{secrets.token_urlsafe(32)}"
        row = {
            "id": key.id, "name": name, "live_name": name, "owner": user, "administrator": administrator,
            "digest": _digest(secret), "created_at": key.created_at,
        }  # fmt: skip

        def work(connection: Connection) -> bool:
            if connection.execute(select(literal(1)).where(KEYS.c.live_name == name)).first() is not None:
                return False
            connection.execute(KEYS.insert().values(row))
            return True

        if not self._tables.transact("a key was made", work):
            raise InvalidRequest(f"There is a key named {name} already: revoke it, or take another name.")
        return key, secret

    def list(self) -> Sequence[ApiKey]:
        query = select(*_COLUMNS).order_by(KEYS.c.created_at, KEYS.c.id)
        return [ApiKey(*row) for row in self._tables.read("keys were listed", query)]

    def revoke(self, name_or_id: str) -> bool:
        if not storable(name_or_id, LONGEST_NAME):
            return False
        revoke = KEYS.update().where(_LIVE).values(live_name=None, revoked_at=clock.now())

        def work(connection: Connection) -> bool:
            which = (KEYS.c.id == name_or_id, KEYS.c.live_name == name_or_id)
            return any(connection.execute(revoke.where(each)).rowcount for each in which)

        return self._tables.transact("a key was revoked", work)

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
        query = select(*_COLUMNS, KEYS.c.digest).where(KEYS.c.id == key_id, _LIVE)
        for *row, digest in self._tables.read("a key was looked up", query):
            return ApiKey(*row), digest
        return None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _checked(what: str, text: str) -> str:
    text = text.strip()
    if not text or len(text) > LONGEST_NAME or not text.isprintable():
        raise InvalidRequest(f"The {what} of a key must be 1 to {LONGEST_NAME} printable characters.")
    return text
