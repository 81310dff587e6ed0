"""P12 in bytes: what one caller imports, reads or erases neither stops others nor takes the memory."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.process import rawhttp
from tests.process.page_client import serve
from tests.process.service_callers import HOSTS, NAMES, Guarded, opened_keys
from tests.process.serving import eventually, resident

from appbuilder.core.store import TurnEntry, TurnRecord
from appbuilder.ids import new_id
from appbuilder.protocols.openai.response_objects import response_id
from appbuilder.settings import Settings
from appbuilder.store.databases.urls import parse
from appbuilder.store.sessions.session_store import SqlStore

MOST_WAIT = 2.0
"""Seconds of the slowest trivial request; promised is one, and the machine has other things to do."""
MOST_MEMORY = 256 * 1024 * 1024
LARGE, TURNS, DELETED = 4_000_000, 20, 6
ONE = b'{"messages":[{"role":"user","content":"a"}]}\n'
JSON_LINES = "application/x-ndjson"
LAST = "11111111-2222-4333-8444-555555555555"
RESPONSE = f"/v1/responses/{response_id(LAST)}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("bulk")
    with opened_keys(folder) as keys:
        secrets = {name: keys.add(name, name, administrator=name == "ada")[1] for name in NAMES}
        fill(folder)
        env = {"WHO": "slow"}
        with serve(folder, "service", env=env, PAGE="no", AUTH="keys,hook", HOSTS=HOSTS) as server:
            found = Guarded(server, keys, folder)
            found.secrets = secrets
            yield found


def fill(folder: Path) -> None:
    """Sessions of turns of 4 MB: Ann's that are read and deleted, and Eve's, who is erased."""
    store = SqlStore(parse(f"sqlite:///{folder}/chat.db"), Settings())
    store.prepare_conversations()
    sessions = [("large", "ann", TURNS, "x"), ("emoji", "ann", 3, "😀"), ("erased", "eve", TURNS, "x")]
    sessions += [(f"deleted{number}", "ann", 6, "x") for number in range(DELETED)]
    for name, owner, turns, letter in sessions:
        text = letter * (LARGE // len(letter.encode()))
        for number in range(turns):
            value = {"input": {"content": f"{number}"}, "answer": {"content": text}, "state": "complete"}
            turn_id = LAST if (name, number) == ("large", TURNS - 1) else new_id()
            entry = TurnEntry(turn_id, f"user:{owner}", name, value)
            store.commit(TurnRecord(name, new_id(), [], entry))
    store.close()


def ask(
    service: Guarded, who: str, method: str, path: str, body: bytes = b"", kind: str = JSON_LINES
) -> rawhttp.Answer:
    """One request on a connection of its own."""
    with client(service, who, method, path, body, kind) as connection:
        return connection.answer()


def client(
    service: Guarded, who: str, method: str, path: str, body: bytes = b"", kind: str = JSON_LINES, **how: Any
) -> rawhttp.Client:
    """A connection on which a request was sent."""
    connection = rawhttp.Client(service.server.port, timeout=60, **how)
    headers = {"Authorization": f"Bearer {service.secrets[who]}", "Content-Type": kind}
    with contextlib.suppress(OSError):  # it may be refused before all of it was sent
        connection.request(method, path, body, headers)
    return connection


class Others:
    """What another caller meets meanwhile: the slowest of the trivial requests, and the memory taken."""

    def __init__(self, service: Guarded) -> None:
        self._service = service
        self._over = threading.Event()
        self.slowest: dict[str, float] = {}
        self.memory = 0
        self.asked = 0

    def _watch(self) -> None:
        begun, pid = resident(self._service.server.process.pid), self._service.server.process.pid
        chat = json.dumps({"message": "hello"}).encode()
        while not self._over.is_set():
            for method, path, body in (("GET", "/health", b""), ("GET", "/sessions?limit=1", b""),
                                       ("POST", "/chat", chat)):
                at = time.monotonic()
                answer = ask(self._service, "bob", method, path, body, "application/json")
                took = time.monotonic() - at
                assert answer.status == 200, (path, answer.status, answer.body[:200])
                self.slowest[path] = max(self.slowest.get(path, 0.0), took)
                self.memory = max(self.memory, resident(pid) - begun)
                self.asked += 1

    def __enter__(self) -> Others:
        self._pool = ThreadPoolExecutor(1)
        self._watching = self._pool.submit(self._watch)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watching.result(60)
        self._pool.shutdown()
        print(f"slowest {self.slowest}, memory {self.memory / 2**20:.0f} MiB, {self.asked} requests")
        assert max(self.slowest.values()) < MOST_WAIT, self.slowest
        assert self.memory < MOST_MEMORY, f"{self.memory / 2**20:.0f} MiB"


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


FILES = {
    "too many sessions": ONE * 93_205,
    "as many as may be": ONE * 1000,
    "one giant line": b'{"messages":[' + b'{"role":"user","content":"a"},' * 130_000 + b"]}",
    "one long session": b'{"messages":[' + b",".join([b'{"role":"user","content":"a"}'] * 9990) + b"]}",
    "one giant text": b'{"messages":[{"role":"user","content":"' + b"a" * 4_000_000 + b'"}]}',
    "empty lines": b"\n" * 4_000_000,
    "tiny lines": b"1\n" * 2_000_000,
    "parts": b'{"messages":[{"role":"user","content":[' + b"1," * 1_900_000 + b"1]}]}",
}


@pytest.mark.parametrize("name", FILES)
def test_imports_of_a_caller_whose_client_leaves(service: Guarded, name: str) -> None:
    with Others(service) as others:
        path = "/sessions/import"
        sent = at_once(45, lambda _: client(service, "ann", "POST", path, FILES[name]))
        time.sleep(1)
        for each in sent:
            each.rst()
        asked = others.asked
        eventually(lambda: others.asked > asked + 6)
    # A slot is there again as soon as what was under way has seen that its client is gone.
    eventually(lambda: ask(service, "ann", "POST", path, ONE).status == 200, timeout=20)


def test_an_import_stops_when_its_client_has_left(service: Guarded) -> None:
    """What it has stored until then stays, and each session of it is whole."""

    def stored() -> int:
        with contextlib.closing(sqlite3.connect(service.server.folder / "chat.db")) as database:
            sql = "SELECT count(*) FROM appbuilder_session_messages WHERE message_key = '_appbuilder.turn'"
            return int(database.execute(sql).fetchone()[0])

    two = ONE.replace(b'"a"}', b'"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}')
    before, told = stored(), service.server.log.count("its client has left")
    with client(service, "ann", "POST", "/sessions/import", two * 1000) as sent:
        eventually(lambda: stored() > before)
        sent.rst()
    eventually(lambda: service.server.log.count("its client has left") == told + 1)
    brought = stored() - before
    assert 0 < brought < 2000
    assert brought % 2 == 0


LARGE_ANSWERS = ("/sessions/large?limit=50", "/sessions/large/export", "/sessions/emoji?limit=50", RESPONSE)


@pytest.mark.parametrize("path", LARGE_ANSWERS)
def test_large_sessions_read_by_clients_that_do_not_read(service: Guarded, path: str) -> None:
    with Others(service), contextlib.ExitStack() as open_ones:
        for _ in range(16):
            open_ones.enter_context(client(service, "ann", "GET", path, receive_buffer=4096))
        time.sleep(2)
    eventually(lambda: ask(service, "ann", "GET", "/sessions/large?limit=1").status == 200)


def test_a_large_session_read_eight_at_once(service: Guarded) -> None:
    with Others(service):
        found = at_once(8, lambda _: ask(service, "ann", "GET", "/sessions/large?limit=50"))
    for each in found:
        assert [turn["input"] for turn in each.result["turns"]] == [f"{TURNS - 1}"], "4 MiB of a page"
        assert each.result["next"]
    page, turns = found[0].result, 1
    while page["next"]:
        page = ask(service, "ann", "GET", f"/sessions/large?limit=50&cursor={page['next']}").result
        turns += len(page["turns"])
    assert turns == TURNS


def test_a_large_response_read_sixteen_at_once(service: Guarded) -> None:
    with Others(service):
        found = at_once(16, lambda _: ask(service, "ann", "GET", RESPONSE))
    assert {(each.status, len(each.body) > LARGE) for each in found} == {(200, True)}


def test_exports_at_once(service: Guarded) -> None:
    with Others(service):
        found = at_once(8, lambda _: ask(service, "ann", "GET", "/sessions/large/export"))
    statuses = [each.status for each in found]
    assert set(statuses) <= {200, 429}
    assert 2 <= statuses.count(200) <= 8
    for each in found:
        assert each.status == 429 or len(each.body) > TURNS * LARGE
        assert each.status == 200 or (each.header("retry-after") and "under way" in each.json["message"])


def test_the_admin_page_counts_without_reading(service: Guarded) -> None:
    with Others(service):
        at = time.monotonic()
        pages = at_once(4, lambda _: ask(service, "ada", "GET", "/admin?q=large"))
        pages += at_once(4, lambda _: ask(service, "ada", "GET", "/admin/sessions/large"))
        took = time.monotonic() - at
    assert [each.status for each in pages] == [200] * 8
    assert f">{TURNS}</td>" in pages[0].body.decode()
    assert took < 10
    assert b"before=" in pages[-1].body, "the page ends where its bytes do"


def test_deleting_and_erasing_what_is_large(service: Guarded) -> None:
    with Others(service):
        gone = at_once(DELETED, lambda number: ask(service, "ann", "DELETE", f"/sessions/deleted{number}"))
        assert [each.status for each in gone] == [200] * DELETED
        assert ask(service, "ada", "DELETE", "/sessions?user=eve").result == {"sessions": 1}
    assert ask(service, "ann", "GET", "/sessions/deleted0").status == 404


def test_a_hook_that_hangs_holds_those_alone_who_need_it(service: Guarded) -> None:
    """45 callers of a hook of 25 s; a key needs no hook."""
    with Others(service), contextlib.ExitStack() as open_ones:
        for _ in range(45):
            slow = open_ones.enter_context(rawhttp.Client(service.server.port, timeout=60))
            slow.request("GET", "/sessions", headers={"X-User": "slow"})
        time.sleep(2)
