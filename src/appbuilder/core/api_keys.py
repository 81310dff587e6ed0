"""The protocol of API keys: who may call the service, kept as hashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, as it may be shown: the secret itself is kept nowhere. Times are UTC without a zone.

    :param id: public part of the key.
    :param name: what a person calls it, one of a kind among keys that are not revoked.
    :param user: whose sessions it reads and writes; several keys may have one user.
    :param administrator: it sees everybody's sessions.
    """

    id: str
    name: str
    user: str
    administrator: bool
    created_at: datetime
    revoked_at: datetime | None = None


class ApiKeys(Protocol):
    """The keys of one database. Every method may be called from any thread.

    :raises StoreUnavailable: (all methods) the database did not answer in time or refused.
    """

    def add(self, name: str, user: str, *, administrator: bool = False) -> tuple[ApiKey, str]:
        """Makes a key; the text returned with it is the secret, shown this once.

        :raises InvalidRequest: the name is taken, or one of the two is empty, too long or not printable.
        """

    def list(self) -> Sequence[ApiKey]:
        """All keys, revoked ones too, in the order they were made."""

    def check(self) -> None:
        """Returns where keys can be looked up."""

    def revoke(self, name_or_id: str) -> bool:
        """Makes a key void; False: no such key, or it was revoked before.

        A service that runs refuses it within two seconds, in every process.
        """

    def find(self, secret: str) -> ApiKey | None:
        """The key with this secret, read from the database; None: it does not exist, or was revoked."""

    def by_id(self, key_id: str) -> ApiKey | None:
        """The key with this id, read from the database; None: it does not exist, or was revoked."""
