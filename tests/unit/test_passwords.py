"""Passwords of the page's users: as they are or hashed, and not too many guesses."""

from __future__ import annotations

import contextlib

import pytest
from werkzeug.security import generate_password_hash

from appbuilder import clock
from appbuilder.errors import RateLimited
from appbuilder.serve.auth import passwords
from appbuilder.serve.auth.passwords import ATTEMPTS, WINDOW, Passwords

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
    assert users.check("ann", password)
    for wrong in (f"{password}x", password[:-1] + "!", password.swapcase() + "-", kept + "x"):
        assert not users.check("ann", wrong)


def test_a_hash_is_not_its_own_password() -> None:
    for kept in (generate_password_hash("x", FAST), generate_password_hash("x", CHEAP)):
        assert not Passwords({"ann": kept}).check("ann", kept)


def test_nobody_has_no_password() -> None:
    users = Passwords({"ann": "secret"})
    for name in ("bob", "Ann", "", "ann ", "ann\x00"):
        for password in ("", "secret", passwords._NO_HASH):
            assert not users.check(name, password)


@pytest.mark.parametrize(
    "users",
    [
        {"ann": "secret"},
        {"ann": generate_password_hash("secret", FAST)},
        {"ann": "secret", "bob": generate_password_hash("secret", FAST)},
    ],
    ids=["plain", "hashed", "both"],
)
def test_a_name_that_is_not_a_users_is_looked_at_like_one_that_is(
    users: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the time an answer takes would tell which names there are."""
    hashed: list[str] = []

    def check(kept: str, _: str) -> bool:
        hashed.append(kept)
        return False

    monkeypatch.setattr(passwords, "check_password_hash", check)
    counts = []
    for name in ("ann", "bob", "nobody"):
        Passwords(users).check(name, "wrong")
        counts.append(len(hashed))
        hashed.clear()
    assert len(set(counts)) == 1
    assert counts[0] == any(kept.startswith("pbkdf2:") for kept in users.values())


def test_letters_that_no_text_may_hold_are_a_wrong_password() -> None:
    for kept in ("?", generate_password_hash("?", FAST)):
        assert not Passwords({"ann": kept}).check("ann", "\ud800")


def test_a_name_has_so_many_guesses(still: Clock) -> None:
    users = Passwords({"ann": "secret", "bob": "other"})
    for _ in range(ATTEMPTS):
        assert not users.check("ann", "wrong")
    with pytest.raises(RateLimited) as refused:
        users.check("ann", "secret")
    assert 0 < refused.value.retry_after <= WINDOW
    assert users.check("bob", "other"), "others are not stopped"
    still.now += WINDOW + 1
    assert users.check("ann", "secret")


def test_guesses_are_forgotten_one_by_one(still: Clock) -> None:
    users = Passwords({"ann": "secret"})
    for _ in range(ATTEMPTS):
        users.check("ann", "wrong")
        still.now += 1
    still.now += WINDOW - ATTEMPTS + 0.5  # the first is a window old
    assert not users.check("ann", "wrong")
    with pytest.raises(RateLimited):
        users.check("ann", "wrong")


def test_a_hundred_wrong_names_keep_nobody_out(still: Clock) -> None:
    users = Passwords({"ann": "secret"})
    for number in range(100):
        assert not users.check(f"name {number}", "wrong")
    assert users.check("ann", "secret")


def test_others_do_not_keep_a_browser_out_that_was_logged_in_before(still: Clock) -> None:
    users = Passwords({"ann": "secret"})
    for _ in range(ATTEMPTS):
        assert not users.check("ann", "wrong")
    with pytest.raises(RateLimited):
        users.check("ann", "secret")
    assert users.check("ann", "secret", "login-1")
    for _ in range(ATTEMPTS):
        assert not users.check("ann", "wrong", "login-1")
    with pytest.raises(RateLimited):
        users.check("ann", "secret", "login-1")
    assert users.check("ann", "secret", "login-2")


def test_a_name_that_is_not_a_users_is_counted_alike(still: Clock) -> None:
    users = Passwords({"ann": "secret"})
    for name in ("ann", "nobody"):
        for _ in range(ATTEMPTS):
            assert not users.check(name, "wrong")
        with pytest.raises(RateLimited):
            users.check(name, "wrong")


def test_guesses_that_come_together_are_counted_before_they_are_looked_at(
    still: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = Passwords({"ann": generate_password_hash("secret", FAST)})
    inside: list[bool] = []

    def check(_: str, __: str) -> bool:
        if len(inside) < 3 * ATTEMPTS:
            inside.append(True)
            with contextlib.suppress(RateLimited):
                users.check("ann", "wrong")
        return False

    monkeypatch.setattr(passwords, "check_password_hash", check)
    users.check("ann", "wrong")
    assert len(inside) == ATTEMPTS


def test_right_passwords_are_not_counted(still: Clock) -> None:
    users = Passwords({"ann": "secret"})
    assert all(users.check("ann", "secret") for _ in range(2 * ATTEMPTS))


def test_memory_is_bounded_and_flooding_it_gives_no_more_guesses(
    still: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "_MOST_KEYS", 50)
    users = Passwords({"ann": "secret"})
    for _ in range(ATTEMPTS):
        users.check("ann", "wrong")
    for number in range(500):
        users.check(f"name {number}" * 1000, "wrong")
        users.check("ann", "wrong", f"browser {number}")
    assert len(users._others._begun) <= 50
    assert max(map(len, users._others._begun)) < 1000
    with pytest.raises(RateLimited):
        users.check("ann", "wrong")
