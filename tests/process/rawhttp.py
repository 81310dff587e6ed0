"""An HTTP client for tests, less polite than others: cuts by FIN or RST, drips, contradicts itself."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from types import TracebackType
from typing import Any, Self

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
JSON = "application/json"


@dataclass(frozen=True)
class Answer:
    """A response that was read to its end."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def result(self) -> Any:
        assert self.status == 200, (self.status, self.body[:500])
        return self.json["result"]

    @property
    def content(self) -> Any:
        return self.result["answer_message"]["content"]


class Client:
    """One connection to 127.0.0.1. Nothing is sent or read but what the test says."""

    def __init__(self, port: int, timeout: float = 15.0, receive_buffer: int = 0) -> None:
        self.port = port
        self.sock = socket.socket()
        self.sock.settimeout(timeout)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.sock.connect(("127.0.0.1", port))
        except OSError:
            self.sock.close()
            raise
        self._response: HTTPResponse | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Sending

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, data: bytes, size: int, pause: float) -> None:
        """Sends *data* in parts of *size* bytes, until all is sent or the server has answered or left."""
        for start in range(0, len(data), size):
            if self._readable(pause):
                return
            with contextlib.suppress(ConnectionError):
                self.sock.sendall(data[start : start + size])

    def flood(self, chunk: bytes, total: int) -> int:
        """Sends *chunk* again and again, until *total* bytes are sent or the server answers or leaves."""
        sent = 0
        while sent < total and not self._readable(0):
            try:
                self.sock.sendall(chunk)
            except (ConnectionError, TimeoutError):
                break
            sent += len(chunk)
        return sent

    def request(self, method: str, path: str, body: bytes = b"", headers: Headers = ()) -> None:
        """Sends a request with a true Content-Length, unless *headers* say something about length."""
        given = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        names = {name.lower() for name, _ in given}
        if not names & {"content-length", "transfer-encoding"} and (body or method == "POST"):
            given.append(("Content-Length", str(len(body))))
        host = [] if "host" in names else ["Host: 127.0.0.1"]
        lines = [f"{method} {path} HTTP/1.1", *host, *(f"{name}: {value}" for name, value in given)]
        self.send("\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body)

    def post(self, body: Any, headers: Headers = (), path: str = "/chat") -> None:
        """Sends *body*, bytes as they are and anything else as JSON, as application/json."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        if not any(name.lower() == "content-type" for name, _ in given):
            given.append(("Content-Type", JSON))
        self.request("POST", path, data, given)

    # Receiving

    def head(self) -> HTTPResponse:
        """Status line and headers; the body is still to be read."""
        self._response = HTTPResponse(self.sock)
        self._response.begin()
        return self._response

    def answer(self) -> Answer:
        """The whole response."""
        response = self.head()
        return Answer(response.status, response.getheaders(), response.read())

    def chat(self, body: Any, headers: Headers = ()) -> Answer:
        """:meth:`post` and :meth:`answer`."""
        self.post(body, headers)
        return self.answer()

    def raw_events(self) -> Iterator[bytes]:
        """Blocks between blank lines, comments included, without the blank line; each as it comes."""
        assert self._response is not None
        rest = b""
        while data := self._response.read1():  # readline would wait for the chunk after the line
            *blocks, rest = (rest + data).split(b"\n\n")
            yield from blocks
        assert not rest, f"the stream ended within an event: {rest[-200:]!r}"

    def events(self) -> Iterator[Any]:
        """The JSON of each ``data:`` event; comments are skipped."""
        for block in self.raw_events():
            if block.startswith(b"data: "):
                yield json.loads(block[6:])

    def stream(self, body: Any, headers: Headers = ()) -> list[Any]:
        """Posts *body* with ``stream: true``; all events."""
        self.post({**body, "stream": True}, headers)
        response = self.head()
        assert response.status == 200, (response.status, response.read()[:500])
        return list(self.events())

    # Leaving

    def closed_by_server(self, timeout: float) -> bool:
        """Whether the server ends the connection within *timeout* seconds; what it sends is dropped."""
        deadline = time.monotonic() + timeout
        try:
            while (left := deadline - time.monotonic()) > 0:
                if self._readable(left) and not self.sock.recv(65536):
                    return True
        except ConnectionError:
            return True
        return False

    def fin(self) -> None:
        """Says goodbye: the kernel sends FIN."""
        self.sock.shutdown(socket.SHUT_RDWR)
        self.close()

    def rst(self) -> None:
        """Breaks off: the kernel sends RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        self.sock.close()

    def _readable(self, timeout: float) -> bool:
        return bool(select.select([self.sock], [], [], timeout)[0])


def chat(port: int, body: Any, headers: Headers = (), timeout: float = 15.0) -> Answer:
    """POST /chat on a connection of its own."""
    with Client(port, timeout) as client:
        return client.chat(body, headers)


def stream(port: int, body: Any, headers: Headers = (), timeout: float = 15.0) -> list[Any]:
    """POST /chat with ``stream: true`` on a connection of its own; all events."""
    with Client(port, timeout) as client:
        return client.stream(body, headers)


def get(port: int, path: str, timeout: float = 15.0) -> Answer:
    """GET on a connection of its own."""
    with Client(port, timeout) as client:
        client.request("GET", path)
        return client.answer()


@contextlib.contextmanager
def clients(port: int, count: int, **options: Any) -> Iterator[list[Client]]:
    """*count* connections."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Client(port, **options)) for _ in range(count)]


def readable(clients: Iterable[Client], timeout: float) -> list[Client]:
    """Those for which the server has sent something, or has left; waits for the first of them."""
    by_socket = {client.sock: client for client in clients}
    return [by_socket[sock] for sock in select.select(list(by_socket), [], [], timeout)[0]]


def text_of(events: list[Any]) -> str:
    """The joined text of a stream that ended well."""
    assert events[-1]["code"] == 0, events[-1]
    assert [event["result"]["is_completion"] for event in events] == [False] * (len(events) - 1) + [True]
    return "".join(str(event["result"]["answer_message"]["content"]) for event in events)
