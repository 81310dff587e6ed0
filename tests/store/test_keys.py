"""API keys in the database of the service."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import URL
from tests.store.conftest import Opener
from tests.store.helpers import fetch

from appbuilder.errors import InvalidRequest
from appbuilder.store.service.api_keys import SqlApiKeys
from appbuilder.store.sessions.session_store import SqlStore


@pytest.fixture
def store(database_url: URL, opened: Opener) -> SqlStore:
    store = opened(database_url)
    store.prepare_service()
    return store


@pytest.fixture
def keys(store: SqlStore) -> SqlApiKeys:
    return store.keys()


def test_a_key_is_found_by_its_secret(store: SqlStore, keys: SqlApiKeys) -> None:
    key, secret = keys.add(" laptop ", "ann@example.com")
    other, others_secret = keys.add("管理", "boss", administrator=True)
    assert (key.name, key.user) == ("laptop", "ann@example.com")
    assert (key.administrator, key.revoked_at) == (False, None)
    assert secret.startswith(f"ab_{key.id}_")
    for each in (keys, store.keys()):
        assert each.find(secret) == key
        assert each.find(others_secret) == other
        assert each.list() == [key, other]


def test_the_secret_is_kept_nowhere(store: SqlStore, keys: SqlApiKeys, database_url: URL) -> None:
    _, secret = keys.add("laptop", "ann")
    stored = str(fetch(database_url, "SELECT * FROM appbuilder_keys"))
    assert secret[16:] not in stored
    assert secret[16:] not in repr(vars(keys))


def test_what_is_no_key(keys: SqlApiKeys) -> None:
    key, secret = keys.add("laptop", "ann")
    changed = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    for text in ("", "x", "ab_", changed, secret + "x", secret.replace("ab_", "AB_"), secret.upper(),
                 f"ab_{'0' * 12}_{secret[16:]}", "ab_\0", "钥匙", secret + "\n"):
        assert keys.find(text) is None
    assert keys.find(secret) == key


def test_a_key_that_is_revoked(store: SqlStore, keys: SqlApiKeys) -> None:
    key, secret = keys.add("laptop", "ann")
    elsewhere = store.keys()
    assert elsewhere.find(secret) == elsewhere.by_id(key.id) == key
    assert keys.revoke("laptop")
    for each in (keys, elsewhere):
        assert each.find(secret) is None
        assert each.by_id(key.id) is None
    assert not keys.revoke("laptop")
    assert not keys.revoke(key.id)
    assert not keys.revoke("nobody")
    assert not keys.revoke("a\0")
    (listed,) = keys.list()
    assert listed.revoked_at is not None
    again, new_secret = keys.add("laptop", "ann")
    assert keys.find(new_secret) == again
    assert keys.revoke(again.id)
    assert keys.find(new_secret) is None


def test_names_are_one_of_a_kind(keys: SqlApiKeys) -> None:
    keys.add("laptop", "ann")
    keys.add("Laptop", "ann")
    with pytest.raises(InvalidRequest, match="already"):
        keys.add("laptop", "bob")


@pytest.mark.parametrize("name", ["", " ", "x" * 256, "a\0b", "a\nb", "\ud800"])
def test_names_that_cannot_be(keys: SqlApiKeys, name: str) -> None:
    with pytest.raises(InvalidRequest):
        keys.add(name, "ann")
    with pytest.raises(InvalidRequest):
        keys.add("laptop", name)
    assert keys.list() == []
