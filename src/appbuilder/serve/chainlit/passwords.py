"""Checking passwords, slowly enough for who guesses."""

from __future__ import annotations

import hmac
import threading
from collections import deque
from collections.abc import Iterable, Mapping

from werkzeug.security import check_password_hash

from appbuilder import clock
from appbuilder.errors import RateLimited
from appbuilder.jsontext import clean

WINDOW = 60.0
NAME_ATTEMPTS = 10
"""Wrong passwords for one name in ``WINDOW`` seconds; then none is looked at until one of them is older."""
PEER_ATTEMPTS = 100
"""The same from one address: more, as behind a proxy all come from one."""
_MOST_KEYS = 10_000
_LONGEST_KEY = 256
_HASHES = ("scrypt:", "pbkdf2:")
_NO_HASH = "scrypt:32768:8:1$0123456789abcdef$" + "0" * 128


class Passwords:
    """The users' passwords: as they are, or hashed by ``werkzeug.security.generate_password_hash``."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = users
        # For a user there is not: as slow as for those there are.
        hashed = any(kept.startswith(_HASHES) for kept in users.values())
        self._nobody = _NO_HASH if hashed else ""
        self._guesses = Guesses()

    def check(self, name: str, password: str, peer: str) -> bool:
        """Whether this is the user's password. Takes about as long for a user there is not.

        :raises RateLimited: too many wrong ones came for this name, or from this peer.
        """
        keys = {f"name {name}"[:_LONGEST_KEY]: NAME_ATTEMPTS, f"peer {peer}": PEER_ATTEMPTS}
        self._guesses.admit(keys)
        matches = _matches(self._users.get(name, self._nobody), password)
        if matches and name in self._users:
            return True
        self._guesses.failed(keys)
        return False


class Guesses:
    """Counts wrong passwords, for ``WINDOW`` seconds each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: dict[str, deque[float]] = {}

    def admit(self, keys: Mapping[str, int]) -> None:
        """Lets a password be looked at.

        :param keys: what wrong ones are counted by -> how many there may be.
        :raises RateLimited: there were as many.
        """
        for key, most in keys.items():
            self._admit(key, most)

    def failed(self, keys: Iterable[str]) -> None:
        """Counts a wrong one."""
        for key in keys:
            self._failed(key)

    def _admit(self, key: str, most: int) -> None:
        now = clock.monotonic()
        with self._lock:
            failures = self._failures.get(key, deque())
            while failures and failures[0] < now - WINDOW:
                failures.popleft()
            if len(failures) >= most:
                raise RateLimited(
                    "Too many wrong passwords; try again in a minute.", failures[0] + WINDOW - now
                )

    def _failed(self, key: str) -> None:
        with self._lock:
            if len(self._failures) >= _MOST_KEYS:
                del self._failures[next(iter(self._failures))]  # the one that began first
            self._failures.setdefault(key, deque()).append(clock.monotonic())


def _matches(kept: str, password: str) -> bool:
    if clean(password) != password:  # it has no bytes to compare
        return False
    if kept.startswith(_HASHES):
        return check_password_hash(kept, password)
    return hmac.compare_digest(kept.encode(), password.encode())
