"""The service of ``tests.process.apps.service`` in a process of its own, and who calls it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.process import page_client, rawhttp
from tests.process.page_client import FOREIGN_HOST, Browser, PageServer

from appbuilder.core.api_keys import ApiKeys
from appbuilder.settings import Settings

HOSTS = f"{FOREIGN_HOST},test"
"""What a service answers to: our browsers, and raw requests."""
NAMES = ("ann", "bob", "ada")
"""Of these ``ada`` is an administrator."""


class Caller(Browser):
    """Somebody with a key, or with none."""

    def enter(self) -> Caller:
        """Loads the page, and so becomes known to it."""
        super().enter()
        return self

    def chat(self, message: Any, session_id: str | None = None, **members: Any) -> rawhttp.Answer:
        """POST /chat for a whole answer."""
        named = {} if session_id is None else {"session_id": session_id}
        return self.request("POST", "/chat", {"message": message, **named, **members})

    def sessions(self, query: str = "") -> set[str]:
        """The ids of the sessions that are listed."""
        listed = self.request("GET", f"/sessions{query}")
        assert listed.status == 200, listed.body
        return {each["session_id"] for each in listed.json["result"]["sessions"]}

    def runs(self) -> list[Any]:
        """The runs that are listed."""
        listed = self.request("GET", "/runs")
        assert listed.status == 200, listed.body
        found: list[Any] = listed.json["result"]["runs"]
        return found


class Guarded:
    """A running service, its keys, and callers."""

    def __init__(self, server: PageServer, keys: ApiKeys, folder: Path) -> None:
        self.server = server
        self.keys = keys
        self.database = f"sqlite:///{folder}/chat.db"
        self.secrets: dict[str, str] = {}

    def caller(self, key: str = "", *, host: str = FOREIGN_HOST, headers: Mapping[str, str] = {}) -> Caller:
        """Who sends this key, or none."""
        bearer = {"Authorization": f"Bearer {key}"} if key else {}
        return Caller(self.server.port, host, {**bearer, **headers})

    def user(self, name: str) -> Caller:
        """Who sends the key of one of :data:`NAMES`."""
        return self.caller(self.secrets[name])

    def browser(self, name: str) -> Caller:
        """Who has logged in on the page."""
        browser = self.caller()
        assert browser.log_in(name, self.secrets[name]).status == 200
        return browser


@contextlib.contextmanager
def opened_keys(folder: Path) -> Iterator[ApiKeys]:
    """The keys of the service in *folder*, as ``appbuilder keys`` opens them."""
    from appbuilder.cli.database import open_database

    store = open_database(Settings(database=f"sqlite:///{folder}/chat.db"), must_exist=False)
    yield store.keys()
    store.close()


@contextlib.contextmanager
def guarded(folder: Path, env: Mapping[str, str] = {}, **given: Any) -> Iterator[Guarded]:
    """The service with API keys, one for each of :data:`NAMES`."""
    with (
        opened_keys(folder) as keys,
        _serve(folder, env, AUTH="keys", HOSTS=HOSTS, **given) as server,
    ):
        service = Guarded(server, keys, folder)
        for name in NAMES:
            _, service.secrets[name] = keys.add(f"{name}'s", name, administrator=name == "ada")
        yield service


@contextlib.contextmanager
def serving(folder: Path, env: Mapping[str, str] = {}, **given: Any) -> Iterator[Guarded]:
    """The service as *given*, without keys."""
    with _serve(folder, env, **given) as server:
        yield Guarded(server, None, folder)  # type: ignore[arg-type]


def _serve(folder: Path, env: Mapping[str, str], **given: Any) -> PageServer:
    return page_client.serve(folder, "service", env=env, **{"PAGE": "yes", **given})
