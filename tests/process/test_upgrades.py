"""Requests that ask for another protocol: all but a WebSocket's are served as what they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from tests.process import page_client, rawhttp
from tests.process.page_client import PageServer
from tests.process.rawhttp import Client
from tests.process.server import Server
from tests.process.serving import SERVICE, serve

POST = b"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
BODY = json.dumps({"message": "asked"}).encode()
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
CONNECTIONS = 6
HANDSHAKE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
HANDSHAKE += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    given = {"BODY_TIMEOUT": "1", "MAX_CONNECTIONS": str(CONNECTIONS)}
    with serve("scripted", tmp_path_factory.mktemp("upgrades"), SERVICE, **given) as running:
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    with page_client.serve(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture(params=["service", "page"])
def port(request: pytest.FixtureRequest) -> int:
    """Of either server of ours."""
    return int(request.getfixturevalue(request.param).port)


def until_closed(client: Client) -> bytes:
    """All the server says, to the end."""
    return b"".join(iter(lambda: client.sock.recv(65536), b""))


def statuses(said: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", said)]


@pytest.mark.parametrize(
    "asking",
    [
        H2C,
        H2C.lower(),
        b"Connection: keep-alive\r\n" + H2C,
        H2C + b"Connection: keep-alive\r\n",
        b"Connection: keep-alive, upgrade\r\nUpgrade: TLS/1.0, websocket\r\n",
        HANDSHAKE,
    ],
)
@pytest.mark.parametrize("told", [LENGTH + b"\r\n" + BODY, b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS])
def test_any_other_upgrade_is_ignored(service: Server, asking: bytes, told: bytes) -> None:
    with Client(service.port) as client:
        client.send(POST + asking + told)
        assert client.answer().content == "asked"
        assert client.chat({"message": "next"}).content == "next"  # on the same connection


def test_requests_in_one_segment(service: Server) -> None:
    plain, asking = POST + LENGTH + b"\r\n" + BODY, POST + H2C + LENGTH + b"\r\n" + BODY
    last = asking.replace(b"Connection: ", b"Connection: close, ")
    with Client(service.port) as client:
        client.send(plain + asking * 300 + plain + last)
        said = until_closed(client)
    assert statuses(said) == [200] * 303
    assert said.count(b'"asked"') == 303


def test_a_body_is_no_request(port: int) -> None:
    inner = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    request = b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n"
    with Client(port) as client:
        client.send(request % len(inner) + H2C + b"\r\n")
        refused = client.answer().status
        assert refused in (404, 405)
        client.send(inner + request % 0 + b"Connection: close\r\n\r\n")
        assert statuses(until_closed(client)) == [refused]


def test_a_tunnel_is_refused(port: int) -> None:
    with Client(port) as client:
        client.send(b"CONNECT /chat HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert statuses(until_closed(client)) == [400]


def test_what_does_not_come_to_be_takes_nobody_s_place(service: Server) -> None:
    unreadable = HANDSHAKE + b"X: v\r\n" * 150  # for the library that speaks WebSocket
    with rawhttp.clients(service.port, CONNECTIONS) as some:
        for client in some[:3]:
            client.send(b"GET /chat HTTP/1.1\r\nHost: 127.0.0.1\r\n" + unreadable + b"\r\n")
        for client in some[3:]:
            client.send(POST + HANDSHAKE + b"Content-Length: 5\r\n\r\n")
        for client in some:
            assert client.closed_by_server(15)
    assert rawhttp.chat(service.port, {"message": "next"}).content == "next"
