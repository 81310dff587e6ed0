"""Checking passwords, slowly enough for who guesses."""

from __future__ import annotations

import hmac
import threading
from collections import deque
from collections.abc import Mapping

from appbuilder import clock
from appbuilder.errors import RateLimited
from appbuilder.jsontext import clean

WINDOW = 60.0
ATTEMPTS = 10
"""Wrong passwords for one name in ``WINDOW`` seconds; then none is looked at until one of them is older. A
browser that was logged in with the name before has as many of its own: others must not keep it out."""
_MOST_KEYS = 10_000
_LONGEST_KEY = 256
_HASHES = ("scrypt:", "pbkdf2:")
_NO_HASH = "scrypt:32768:8:1$0123456789abcdef$" + "0" * 128


class Passwords:
    """The users' passwords: as they are, or hashed by ``werkzeug.security.generate_password_hash``."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = users
        # One check for all names takes about as long, known or not.
        self._slow = next((kept for kept in users.values() if kept.startswith(_HASHES)), "")
        self._accounts = LoginAttempts()
        self._others = LoginAttempts(_MOST_KEYS)

    def check(self, name: str, password: str, browser: str = "") -> bool:
        """Whether this is the user's password. Takes about as long for a name that is not a user's.

        :param browser: the id of a browser that was logged in with the name before; empty: it was not.
        :raises RateLimited: too many wrong ones came for this name, or from this browser.
        """
        known = name in self._users
        guesses = self._accounts if known and not browser else self._others
        key = f"browser {browser}" if browser else f"name {name}"[:_LONGEST_KEY]
        guesses.begin(key)
        matches = self._matches(self._users.get(name, ""), password) and known
        if matches:
            guesses.take_back(key)
        return matches

    def _matches(self, kept: str, password: str) -> bool:
        if clean(password) != password:  # it has no bytes to compare
            password, kept = "", _NO_HASH
        if kept.startswith(_HASHES):
            return check_password_hash(kept, password)
        if self._slow:
            check_password_hash(self._slow, password)
        return hmac.compare_digest(kept.encode(), password.encode())


class LoginAttempts:
    """Counts passwords by what they are for, for ``WINDOW`` seconds each, from before they are looked at.

    :param most: things counted by; of more, that which began first is forgotten. 0: any number.
    """

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._begun: dict[str, deque[float]] = {}

    def begin(self, key: str) -> None:
        """Counts a password that is about to be looked at.

        :raises RateLimited: there were too many.
        """
        now = clock.monotonic()
        with self._lock:
            begun = self._begun.get(key, deque())
            while begun and begun[0] < now - WINDOW:
                begun.popleft()
            if len(begun) >= ATTEMPTS:
                raise RateLimited("Too many wrong passwords; try again in a minute.", begun[0] + WINDOW - now)
            if key not in self._begun and self._most and len(self._begun) >= self._most:
                del self._begun[next(iter(self._begun))]
            self._begun.setdefault(key, begun).append(now)

    def take_back(self, key: str) -> None:
        """The last one was right."""
        with self._lock:
            if begun := self._begun.get(key):
                begun.pop()


def check_password_hash(kept: str, password: str) -> bool:
    """werkzeug's, imported when it is needed: a program may start Flask in another thread, and two first
    imports of werkzeug at once fail, as its modules import each other."""
    from werkzeug import security

    return security.check_password_hash(kept, password)
