"""Bytes in flight: the memory that requests and answers of a process, and of each caller, may take.

Counted are bodies while they are read, the messages of turns, and what runs have said as long as they go on
or have a reader. What is small is not counted: the number of turns bounds it.
"""

from __future__ import annotations

import threading

from appbuilder.errors import Overloaded, RateLimited

_RETRY_AFTER = 1.0
"""Seconds."""


class Budget:
    """The bytes of one process.

    :param most: of all callers together; 0: no limit.
    :param most_of_one: of one caller; 0: no limit.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self.lock = threading.Lock()
        self._callers: dict[str, int] = {}
        self.used = 0

    def account(self, caller: str) -> Account:
        """An empty account.

        :param caller: whose bytes are counted together; empty: the caller is not known, and has no limit.
        """
        return Account(self, caller)

    def change(self, caller: str, size: int) -> None:
        """Adds *size* bytes, or where it is negative gives them back. To be called under :attr:`lock`.

        :raises RateLimited, Overloaded: that is more than is left; nothing was added.
        """
        used, of_one = self.used + size, self._callers.get(caller, 0) + size
        if size > 0:
            if caller and 0 < self._most_of_one < of_one:
                raise RateLimited(_OF_ONE, _RETRY_AFTER)
            if 0 < self._most < used:
                raise Overloaded(_OF_ALL, _RETRY_AFTER)
        self.used = used
        if of_one > 0:
            self._callers[caller] = of_one
        else:
            self._callers.pop(caller, None)


_OF_ONE = (
    "Your requests and unread answers hold as many bytes as one caller's may; wait until some have ended, "
    "and try again."
)
_OF_ALL = "Requests and unread answers hold as many bytes as the service may use; try again in a moment."


class Account:
    """The bytes of one request and its run; given back when the last holder has let go of it.

    Who makes it holds it.
    """

    __slots__ = ("_budget", "_caller", "_holders", "size")

    def __init__(self, budget: Budget, caller: str) -> None:
        self._budget = budget
        self._caller = caller
        self._holders = 1
        self.size = 0

    def take(self, size: int) -> None:
        """Adds *size* bytes.

        :raises RateLimited, Overloaded: the caller, or the process, has no more.
        """
        with self._budget.lock:
            self._budget.change(self._caller, size)
            self.size += size

    def resize(self, size: int) -> None:
        """Makes the account *size* bytes large.

        :raises RateLimited, Overloaded: as :meth:`take`.
        """
        self.take(size - self.size)

    def hold(self) -> None:
        """One holder more."""
        with self._budget.lock:
            self._holders += 1

    def release_account(self) -> None:
        """One holder less; with the last the bytes are given back."""
        with self._budget.lock:
            self._holders -= 1
            if self._holders <= 0 and self.size:
                size, self.size = self.size, 0
                self._budget.change(self._caller, -size)
