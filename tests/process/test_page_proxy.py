"""The page of a service with two workers, asked through the worker that does not have it."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.process.page_client import FOREIGN_HOST
from tests.process.rawhttp import Answer, Client
from tests.process.server import Server
from tests.process.service_callers import opened_keys
from tests.process.serving import APPS, children, eventually, serve_target

OTHER_HOST = {"Host": FOREIGN_HOST}
PAGE = f"{APPS}.page:Texted"
FORGED = {"X-Appbuilder-Relayed": "guessed 203.0.113.9 https"}


class Pair:
    """Connections to a service with two workers, of which one has the page."""

    def __init__(self, server: Server) -> None:
        self.server = server
        eventually(lambda: "is served on" in server.log, 60)  # by both
        self.page_worker = next(pid for pid in children(server) if has_page(pid))

    def connect(self, *, relayed: bool) -> Client:
        """A connection to the worker that has the page, or to the one that passes requests on."""
        (other,) = set(children(self.server)) - {self.page_worker}
        asleep = self.page_worker if relayed else other
        os.kill(asleep, signal.SIGSTOP)
        try:
            eventually(lambda: stopped(asleep))
            client = Client(self.server.port, timeout=30)
            client.request("GET", "/health")
            assert client.answer().status == 200  # so it is who is awake that has the connection
        finally:
            os.kill(asleep, signal.SIGCONT)
        return client


def stopped(pid: int) -> bool:
    """Whether all threads of a process have stopped."""
    stats = [stat.read_text() for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    return {stat.rpartition(")")[2].split()[0] for stat in stats} == {"T"}


def has_page(pid: int) -> bool:
    *_, listener, _folder, _end = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return listener != "-1"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("relay")
    given = {"PAGE": "yes", "HOSTS": FOREIGN_HOST, "ALLOW_ANONYMOUS": "yes", "CACHE_DIR": str(folder)}
    with serve_target(PAGE, folder, "--workers", "2", **given) as server:
        yield Pair(server)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pair, str]]:
    """One that asks for keys, and the key of ``ann``."""
    folder = tmp_path_factory.mktemp("keys")
    with opened_keys(folder) as keys:
        _, secret = keys.add("ann's", "ann")
    given = {"PAGE": "yes", "HOSTS": FOREIGN_HOST, "AUTH": "keys", "CACHE_DIR": str(folder)}
    with serve_target(PAGE, folder, "--workers", "2", **given) as server:
        yield Pair(server), secret


def ask(
    client: Client, path: str, headers: Mapping[str, str] = {}, method: str = "GET", body: bytes = b""
) -> Answer:
    client.request(method, path, body, headers)
    return client.answer()


def identity(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return answer.json["identifier"]


def cookies(answer: Answer) -> dict[str, str]:
    """What to send for the cookies an answer sets."""
    given = [value.partition(";")[0] for name, value in answer.headers if name.lower() == "set-cookie"]
    return {"Cookie": "; ".join(given)}


def test_it_does_not_matter_which_worker_is_asked(pair: Pair) -> None:
    with pair.connect(relayed=False) as direct, pair.connect(relayed=True) as relayed:
        for path, method in (("/", "GET"), ("/nothing/here", "GET"), ("/chat", "GET"),
                             ("/user", "GET"), ("/project/threads", "POST"), ("/favicon", "GET")):
            here, there = (ask(client, path, method=method) for client in (direct, relayed))
            assert (here.status, without_id(here)) == (there.status, without_id(there)), path
            assert told(here) == told(there), path
        # Scripts are found under the names the page says.
        scripts = re.findall(rb'src="(/assets/[^"]+\.js)"', ask(direct, "/").body)
        script = scripts[0]
        here, there = (ask(client, script.decode()) for client in (direct, relayed))
        assert here.body == there.body
        assert len(here.body) > 100_000


def without_id(answer: Answer) -> bytes:
    """The body; of an error the words alone."""
    return answer.body if answer.status == 200 else answer.json["message"].encode()


def told(answer: Answer) -> list[tuple[str, str]]:
    """Headers, without those that differ from answer to answer or are of the connection."""
    ids = ("x-appbuilder-request-id", "x-request-id")
    own = ("date", "content-length", "transfer-encoding", "set-cookie", *ids)
    names = [name.lower() for name, _ in answer.headers]
    assert names.count("date") == 1
    return sorted((name.lower(), value) for name, value in answer.headers if name.lower() not in own)


def test_the_local_user_is_the_local_user_through_either(pair: Pair) -> None:
    """Who that is depends on the peer's address, which is another on the way between the workers."""
    with pair.connect(relayed=False) as direct, pair.connect(relayed=True) as relayed:
        assert identity(ask(direct, "/user")) == identity(ask(relayed, "/user"))
        assert not identity(ask(relayed, "/user")).startswith("visitor:")


def test_visitors_are_told_apart_by_their_cookies_alone(pair: Pair) -> None:
    with pair.connect(relayed=False) as direct, pair.connect(relayed=True) as relayed:
        first = ask(relayed, "/user", OTHER_HOST)
        mine = cookies(first)
        strangers = [identity(ask(client, "/user", OTHER_HOST)) for client in (relayed, direct, relayed)]
        assert len({identity(first), *strangers}) == 4
        for client in (direct, relayed):
            assert identity(ask(client, "/user", {**OTHER_HOST, **mine})) == identity(first)


def test_what_others_claim_to_be_passed_on_is_not_believed(pair: Pair) -> None:
    with pair.connect(relayed=False) as direct, pair.connect(relayed=True) as relayed:
        local = identity(ask(direct, "/user"))
        for client in (direct, relayed):
            assert identity(ask(client, "/user", FORGED)) == local
        visitor = ask(direct, "/user", OTHER_HOST)
        claims = {"X-Appbuilder-Relayed": "guessed 127.0.0.1 http", **OTHER_HOST, **cookies(visitor)}
        for client in (direct, relayed):
            assert identity(ask(client, "/user", claims)) == identity(visitor)


def test_a_login_holds_through_either_and_for_nobody_else(guarded: tuple[Pair, str]) -> None:
    service, secret = guarded
    with service.connect(relayed=False) as direct, service.connect(relayed=True) as relayed:
        form = {"Content-Type": "application/x-www-form-urlencoded", **OTHER_HOST}
        wrong = ask(relayed, "/login", form, "POST", b"username=ann&password=ab_wrong")
        assert wrong.status == 401
        logged_in = ask(relayed, "/login", form, "POST", f"username=ann&password={secret}".encode())
        assert logged_in.status == 200
        mine = cookies(logged_in)
        for client in (direct, relayed):
            assert identity(ask(client, "/user", {**OTHER_HOST, **mine})) == "user:ann"
            assert ask(client, "/user", OTHER_HOST).status == 401
            bearer = {"Authorization": f"Bearer {secret}", **OTHER_HOST}
            assert identity(ask(client, "/user", bearer)) == "user:ann"


def test_a_body_that_is_broken_off_does_not_pass_for_a_whole_one(guarded: tuple[Pair, str]) -> None:
    """The rest of it might have made the difference."""
    service, secret = guarded
    body = f"username=ann&password={secret}".encode()
    headers = [("Host", FOREIGN_HOST), ("Content-Type", "application/x-www-form-urlencoded")]
    with service.connect(relayed=True) as relayed:
        relayed.request("POST", "/login", body, [*headers, ("Content-Length", str(len(body) + 10))])
        relayed.sock.shutdown(1)
        assert not relayed.sock.recv(65536).startswith(b"HTTP/1.1 200")
    with service.connect(relayed=True) as relayed:
        chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        relayed.request("POST", "/login", chunked, [*headers, ("Transfer-Encoding", "chunked")])
        assert relayed.answer().status == 200


@pytest.mark.parametrize("relayed", [True, False])
def test_a_socket_of_the_page(pair: Pair, relayed: bool) -> None:
    with pair.connect(relayed=relayed) as client:
        origin = {"Origin": f"http://127.0.0.1:{pair.server.port}", "Host": f"127.0.0.1:{pair.server.port}"}
        assert handshake(client, origin) == 101
        assert client.sock.recv(2)[0] & 0x0F == 1  # a text
        # Engine.IO's first word, which says what to expect of the socket.
        assert client.sock.recv(65536).startswith(b"0{")
        client.send(frame(8, struct.pack("!H", 1000)))
        assert client.closed_by_server(30)


def test_a_socket_that_is_not_let_in_is_refused(pair: Pair) -> None:
    for relayed in (True, False):
        with pair.connect(relayed=relayed) as client:
            assert handshake(client, {"Origin": "https://evil.example"}) == 403
    with pair.connect(relayed=True) as client:
        assert handshake(client, {"Host": f"{FOREIGN_HOST}:99999999"}) == 403
    assert " ERROR " not in pair.server.log


def handshake(client: Client, headers: Mapping[str, str]) -> int:
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    socket = {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
    client.request(
        "GET", "/ws/socket.io/?EIO=4&transport=websocket", headers={**upgrade, **socket, **headers}
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = client.sock.recv(1)
        assert part, head
        head += part
    return int(head.split()[1])


def frame(kind: int, payload: bytes) -> bytes:
    """A frame of a client; masked with nothing."""
    return bytes([0x80 | kind, 0x80 | len(payload), 0, 0, 0, 0]) + payload


def test_when_the_worker_with_the_page_has_died(tmp_path: Path) -> None:
    """Its requests wait for the next one, and all others are answered."""
    given = {"PAGE": "yes", "CACHE_DIR": str(tmp_path)}
    with serve_target(PAGE, tmp_path, "--workers", "2", **given) as server:
        service = Pair(server)
        with service.connect(relayed=True) as client:
            os.kill(service.page_worker, signal.SIGKILL)
            assert ask(client, "/health").status == 200
            answer = client.chat({"message": json.dumps({"do": "echo", "text": "on"})})
            assert answer.content == "on"
            eventually(lambda: ask(client, "/").status == 200, 60)
