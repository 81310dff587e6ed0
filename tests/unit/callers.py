"""Callers of the service: requests with what they bring, and keys in memory."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from appbuilder import clock
from appbuilder.core.api_keys import ApiKey
from appbuilder.core.conversations import ConversationRepository
from appbuilder.errors import StoreUnavailable
from appbuilder.serve.auth.authenticator import Authenticator, make_authenticator
from appbuilder.serve.auth.request_info import Identity, RequestInfo
from appbuilder.settings import Settings

_T = TypeVar("_T")

SECRET = "s" * 40
"""Signs the cookies of these tests."""


def asking(
    *headers: tuple[str, str],
    peer: str = "10.0.0.5",
    host: str | None = "chat.example",
    cookies: Mapping[str, str] | None = None,
    method: str = "GET",
    path: str = "/sessions",
) -> RequestInfo:
    """A request; by default of a program somewhere else."""
    first = [] if host is None else [("host", host)]
    return RequestInfo(peer, [*first, *headers], dict(cookies or {}), method, path)


def local(*headers: tuple[str, str], **more: Any) -> RequestInfo:
    """A request of a program on this machine."""
    return asking(*headers, peer="127.0.0.1", host="localhost:8090", **more)


def bearer(text: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {text}")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(work)


def identified(door: Authenticator, request: RequestInfo) -> Identity | None:
    return asyncio.run(door.identify(request))


def authenticator(
    keys: MemoryKeys | None = None, repository: ConversationRepository | None = None, **given: Any
) -> Authenticator:
    """What the settings *given* make; ``hook`` and ``host`` are handed on."""
    hook, host = given.pop("hook", None), given.pop("host", "0.0.0.0")
    settings = Settings(page_secret=SECRET, **given)
    return make_authenticator(settings, keys, host=host, hook=hook, repository=repository)


def documented(page: str, name: str) -> Any:
    """The function of this name in an example of a page of docs/."""
    text = (Path(__file__).parents[2] / "docs" / page).read_text("utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    [example] = [each for each in examples if f"def {name}(" in each]
    namespace: dict[str, Any] = {}
    exec(example, namespace)
    return namespace[name]


class MemoryKeys:
    """The keys protocol in memory. ``calls`` counts; ``fail`` makes the database one that is away."""

    def __init__(self) -> None:
        self._by_secret: dict[str, ApiKey] = {}
        self._numbers = itertools.count(1)
        self.calls: Counter[str] = Counter()
        self.fail = False

    def add(self, name: str, user: str, *, administrator: bool = False) -> tuple[ApiKey, str]:
        number = next(self._numbers)
        key, secret = ApiKey(f"id-{number}", name, user, administrator, clock.now()), f"ab_secret{number}"
        self._by_secret[secret] = key
        return key, secret

    def list(self) -> Sequence[ApiKey]:
        self._called("list")
        return [*self._by_secret.values()]

    def revoke(self, name_or_id: str) -> bool:
        for secret, key in self._by_secret.items():
            if name_or_id in {key.name, key.id} and key.revoked_at is None:
                self._by_secret[secret] = replace(key, revoked_at=clock.now())
                return True
        return False

    def find(self, secret: str) -> ApiKey | None:
        self._called("find")
        key = self._by_secret.get(secret)
        return key if key is not None and key.revoked_at is None else None

    def by_id(self, key_id: str) -> ApiKey | None:
        self._called("by_id")
        keys = self._by_secret.values()
        return next((key for key in keys if key.id == key_id and not key.revoked_at), None)

    def check(self) -> None:
        self._called("check")

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        if self.fail:
            raise StoreUnavailable("away")


class Clock:
    """A monotonic clock that stands still until it is set on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Makes the monotonic clock one that stands still."""
    stopped = Clock()
    monkeypatch.setattr(clock, "monotonic", stopped)
    return stopped
