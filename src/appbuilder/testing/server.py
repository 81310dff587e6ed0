"""What the doubles of model servers share: a real HTTP server on a loopback port, run by a script."""

from __future__ import annotations

import _socket
import contextlib
import json
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self

from appbuilder import jsontext

_GLANCE = 0.02


@dataclass(frozen=True)
class Reply:
    """How a double answers one call.

    :param pieces: the answer's text; None: what the double's ``answer`` makes of the request.
    :param usage: ``prompt_tokens``...; None: counted in characters.
    :param status: with anything but 200, *error* is the body.
    :param error: ``(code, text)``.
    :param error_after: that many pieces are said, then *error* (a streamed answer only).
    :param cut_after: that many pieces are said, then the connection is cut.
    :param silent_after: that many pieces are said, then nothing more until the client leaves.
    :param hang: nothing is said at all, not even a status, until the client leaves.
    :param noise: bytes sent all the time while nothing is said: a comment, an empty event, a byte; with
        *hang* bytes of a header.
    :param unfinished: the answer ends in order, but without its last event (usage, finish reason).
    :param finish: why the answer ended (of an OpenAI-compatible server); empty: that is not said.
    :param done: the last event is followed by ``[DONE]``, as OpenAI's is.
    :param tool_calls: functions the model asks for after its text: names and arguments.
    :param gates: number of a piece -> event it waits for.
    :param pace: seconds between pieces.
    :param raw: these bytes instead of the answer's body; *kind* is their content type, empty: the usual one.
    :param headers: further headers, ``Retry-After`` for instance.
    :param extra: further members of the answer: ``trace_log``...
    """

    pieces: Sequence[str] | None = None
    usage: Mapping[str, int] | None = None
    status: int = 200
    error: tuple[str | int, str] = ("InternalError", "scripted")
    error_after: int | None = None
    cut_after: int | None = None
    silent_after: int | None = None
    hang: bool = False
    noise: bytes = b""
    unfinished: bool = False
    finish: str = "stop"
    done: bool = True
    tool_calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    gates: Mapping[int, threading.Event] = field(default_factory=dict)
    pace: float = 0.0
    raw: bytes | None = None
    kind: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recorded:
    """A request as it came. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class ClientLeft(Exception):
    """The client closed the connection, or the double was stopped."""


class HttpDouble:
    """A model server for tests, on 127.0.0.1, in threads of this process. Use it in a ``with`` statement.

    ``requests`` holds what came, in order; ``reply(...)`` adds to the script. A call for which the script has
    nothing gets ``default``. ``connections`` counts the connections that were made, ``left`` the clients
    that went before their answer's end.

    :param answer: makes an answer's text of a request; by default the question itself.
    """

    def __init__(self, answer: Callable[[Recorded], str] | None = None) -> None:
        self.default = Reply()
        self.requests: list[Recorded] = []
        self.left = 0
        self.connections = 0
        self.errors: list[BaseException] = []
        self._answer = answer
        self._script: deque[Reply] = deque()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_GLANCE,))

    @property
    def port(self) -> int:
        """The port the double listens on."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://127.0.0.1:{self.port}"

    def reply(self, *replies: Reply) -> None:
        """Adds *replies* to the script: each is for one call."""
        self._script.extend(replies)

    def wait_for_requests(self, count: int, timeout: float = 10.0) -> None:
        """Returns when *count* requests have come.

        :raises TimeoutError: they have not, in *timeout* seconds.
        """
        self._wait_until(lambda: len(self.requests) >= count, timeout, f"{count} requests")

    def wait_for_left(self, count: int = 1, timeout: float = 10.0) -> None:
        """Returns when *count* clients have left before their answer's end.

        :raises TimeoutError: they have not, in *timeout* seconds.
        """
        self._wait_until(lambda: self.left >= count, timeout, f"{count} clients to leave")

    def start(self) -> Self:
        """Begins to answer."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Cuts every connection and frees the port.

        :raises BaseException: the first unexpected error of the double's own, if there was one.
        """
        self._stopped.set()
        self._server.shutdown()
        self._server.cut_all()
        self._server.server_close()
        self._thread.join()
        if self.errors:
            raise self.errors[0]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # For the doubles themselves

    def respond(self, exchange: Exchange) -> None:
        """Answers one request. To be implemented."""
        raise NotImplementedError

    def content_of(self, headers: Mapping[str, str], body: bytes) -> Any:
        """*body* as it is recorded: what its JSON says, None if it is empty, else as it is."""
        try:
            return json.loads(body) if body else None
        except ValueError:
            return body

    def next_reply(self) -> Reply:
        """The script's next step."""
        try:
            return self._script.popleft()
        except IndexError:
            return self.default

    @property
    def stopped(self) -> bool:
        """True once the double is stopping."""
        return self._stopped.is_set()

    def text_for(self, request: Recorded) -> str:
        """The answer's text where the script gives none."""
        return self.question(request) if self._answer is None else self._answer(request)

    def question(self, request: Recorded) -> str:
        """What *request* asks. To be implemented."""
        raise NotImplementedError

    def note_request(self, request: Recorded) -> None:
        """Records *request*."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def note_left(self) -> None:
        """Counts a client that went early."""
        with self._changed:
            self.left += 1
            self._changed.notify_all()

    def _wait_until(self, holds: Callable[[], bool], timeout: float, what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(holds, timeout):
                raise TimeoutError(f"waited {timeout} s for {what}")


class Exchange(BaseHTTPRequestHandler):
    """One request and the means to answer it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    request_seen: Recorded
    _begun = False

    def handle_one_request(self) -> None:
        """As the base, but a client that leaves is no error."""
        try:
            super().handle_one_request()
        except (OSError, ClientLeft):
            self.close_connection = True

    def do_POST(self) -> None:
        """Reads, records and answers."""
        double = self.server.double
        self._begun = False
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            double.note_left()
            raise ClientLeft
        headers = {name.lower(): value for name, value in self.headers.items()}
        content = double.content_of(headers, body)
        self.request_seen = Recorded(self.command, self.path, headers, content)
        double.note_request(self.request_seen)
        try:
            double.respond(self)
        except (OSError, ClientLeft):
            double.note_left()
            raise

    do_GET = do_POST  # noqa: N815 - the base class's name

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Says nothing."""

    def wait(self, event: threading.Event, timeout: float | None = None) -> None:
        """Waits for *event*.

        :raises ClientLeft: the client left meanwhile.
        """
        passed = 0.0
        while not event.wait(_GLANCE) and (timeout is None or passed < timeout):
            passed += _GLANCE
            self._raise_if_left()

    def wait_until_disconnected(self, send: Callable[[], object] | None = None) -> None:
        """Waits; where *send* is given it is called all the time.

        :raises ClientLeft: when the client leaves.
        """
        while send is None:
            self.wait(threading.Event())
        while True:
            send()
            self.wait(threading.Event(), _GLANCE)

    def hang(self, reply: Reply) -> None:
        """Does what *reply* says of hanging.

        :raises ClientLeft: when the client leaves.
        """
        if reply.hang and reply.noise:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Noise: ")
        if reply.hang:
            self.wait_until_disconnected((lambda: self.wfile.write(reply.noise)) if reply.noise else None)

    def begin(self, reply: Reply, kind: str, length: int | None = None) -> None:
        """Sends status and headers; without *length* the body comes in chunks."""
        self._begun = True
        self.send_response(reply.status)
        self.send_header("Content-Type", kind)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        """Sends a chunk; an empty one ends the body."""
        self._raise_if_left()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def event(self, data: Any) -> None:
        """Sends a server-sent event."""
        self.chunk(b"data: " + (data.encode() if isinstance(data, str) else to_json(data)) + b"\n\n")

    def whole(self, reply: Reply, data: Any) -> None:
        """Sends a JSON body."""
        body = to_json(data)
        self.begin(reply, "application/json", len(body))
        self.wfile.write(body)

    def cut(self) -> None:
        """Cuts the connection."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def pieces_of(self, reply: Reply) -> Sequence[str]:
        """The answer's pieces, where the script gives none of two characters each."""
        if reply.pieces is not None:
            return reply.pieces
        text = self.server.double.text_for(self.request_seen)
        return [text[start : start + 2] for start in range(0, len(text), 2)]

    def stream(self, reply: Reply, pieces: Sequence[str], say: Callable[[str], None]) -> bool:
        """Says *pieces* as *reply* wants it; False: it ends before the answer's end."""
        for number, piece in enumerate([*pieces, None]):
            if number == reply.cut_after:
                self.cut()
                return False
            if number == reply.silent_after:
                noisy = reply.noise and self._begun
                self.wait_until_disconnected((lambda: self.chunk(reply.noise)) if noisy else None)
            if number == reply.error_after or piece is None:
                return number != reply.error_after
            if number in reply.gates:
                self.wait(reply.gates[number])
            if number and reply.pace:
                self.wait(threading.Event(), reply.pace)
            say(piece)
        return True

    def _raise_if_left(self) -> None:
        if self.server.double.stopped:
            raise ClientLeft
        raw = getattr(self.connection, "_sock", self.connection)
        with contextlib.suppress(BlockingIOError):
            # Below TLS and gevent, whose sockets cannot peek.
            if not _socket.socket.recv(raw, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                raise ClientLeft


def to_json(data: Any) -> bytes:
    """*data* as UTF-8 JSON on one line; half of a surrogate pair is escaped, as there is no other way."""
    try:
        return jsontext.one_line(json.dumps(data, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        return json.dumps(data).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size: ClassVar[int] = 1024  # type: ignore[misc]

    def __init__(self, double: HttpDouble) -> None:
        self.double = double
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), Exchange)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        self.double.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        for request in list(self._open):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.double.errors.append(error)
