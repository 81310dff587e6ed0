"""Passwords of the page's users: as they are or hashed, and not too many guesses."""

from __future__ import annotations

import pytest
from werkzeug.security import generate_password_hash

from appbuilder import clock
from appbuilder.errors import RateLimited
from appbuilder.serve.chainlit import passwords
from appbuilder.serve.chainlit.passwords import NAME_ATTEMPTS, PEER_ATTEMPTS, WINDOW, Passwords

FAST = "pbkdf2:sha256:1"
CHEAP = "scrypt:1024:8:1"


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("password", ["secret", "密码", "", " ", "scrypt", "a" * 1000, "\x00", "é"])
@pytest.mark.parametrize("method", ["", FAST, CHEAP])
def test_a_password_is_right_or_wrong(password: str, method: str) -> None:
    kept = generate_password_hash(password, method) if method else password
    users = Passwords({"ann": kept})
    assert users.check("ann", password, "p")
    for wrong in (f"{password}x", password[:-1] + "!", password.swapcase() + "-", kept + "x"):
        assert not users.check("ann", wrong, "p")


def test_a_hash_is_not_its_own_password() -> None:
    for kept in (generate_password_hash("x", FAST), generate_password_hash("x", CHEAP)):
        assert not Passwords({"ann": kept}).check("ann", kept, "p")


def test_nobody_has_no_password() -> None:
    users = Passwords({"ann": "secret"})
    for name in ("bob", "Ann", "", "ann ", "ann\x00"):
        for password in ("", "secret", passwords._NO_HASH):
            assert not users.check(name, password, name)


@pytest.mark.parametrize("kept", ["secret", generate_password_hash("secret", FAST)], ids=["plain", "hashed"])
def test_a_user_there_is_not_is_looked_at_like_one_there_is(
    kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def check(kept: str, _: str) -> bool:
        hashed.append(kept)
        return False

    monkeypatch.setattr(passwords, "check_password_hash", check)
    users = Passwords({"ann": kept})
    users.check("ann", "wrong", "p")
    for_ann = len(hashed)
    users.check("bob", "wrong", "p")
    assert len(hashed) == 2 * for_ann


def test_letters_that_no_text_may_hold_are_a_wrong_password() -> None:
    for kept in ("?", generate_password_hash("?", FAST)):
        assert not Passwords({"ann": kept}).check("ann", "\ud800", "p")


def test_a_name_has_so_many_guesses(still: Clock) -> None:
    users = Passwords({"ann": "secret", "bob": "other"})
    for number in range(NAME_ATTEMPTS):
        assert not users.check("ann", "wrong", f"peer {number}")
    with pytest.raises(RateLimited) as refused:
        users.check("ann", "secret", "yet another peer")
    assert 0 < refused.value.retry_after <= WINDOW
    assert users.check("bob", "other", "peer 1"), "others are not stopped"
    still.now += WINDOW + 1
    assert users.check("ann", "secret", "p")


def test_guesses_are_forgotten_one_by_one(still: Clock) -> None:
    users = Passwords({"ann": "secret"})
    for _ in range(NAME_ATTEMPTS):
        users.check("ann", "wrong", "p")
        still.now += 1
    still.now += WINDOW - NAME_ATTEMPTS + 0.5  # the first is a window old
    assert not users.check("ann", "wrong", "p")
    with pytest.raises(RateLimited):
        users.check("ann", "wrong", "p")


def test_a_peer_has_so_many_guesses(still: Clock) -> None:
    users = Passwords({"ann": "secret"})
    for number in range(PEER_ATTEMPTS):
        assert not users.check(f"name {number}", "wrong", "p")
    with pytest.raises(RateLimited):
        users.check("ann", "secret", "p")
    assert users.check("ann", "secret", "q")


def test_right_passwords_are_not_counted(still: Clock) -> None:
    users = Passwords({"ann": "secret"})
    assert all(users.check("ann", "secret", "p") for _ in range(2 * PEER_ATTEMPTS))


def test_memory_is_bounded(still: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_MOST_KEYS", 50)
    users = Passwords({})
    for number in range(500):
        users.check(f"name {number}" * 1000, "wrong", f"peer {number}")
    assert len(users._guesses._failures) <= 51
    assert max(map(len, users._guesses._failures)) < 1000
