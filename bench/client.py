"""The load generator: keep-alive connections over epoll, in one thread, the same for every contender.

It looks into an answer only as far as needed to know where it ends; whole answers are checked as they come,
streams after the clock has stopped. `busy` in its results is the share of a core it used: well below 1 means
that it was not what limited the server.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

TIMEOUT = 10.0
"""Seconds without any byte of an answer after which it counts as an error."""
OPEN_TIMEOUT = 60.0
_CHUNKS_END = b"\r\n0\r\n\r\n"


class Failure(Exception):
    """An answer that does not count; the text is the kind of error that is reported."""


class Script(Protocol):
    """What each connection says, and whether the answer is right."""

    def request(self, number: int) -> bytes:
        """The next request of connection *number*."""

    def check(self, number: int, status: int, body: bytes) -> None:
        """:raises Failure: the answer is wrong."""

    def failed(self, number: int) -> None:
        """The request in flight was lost (time-out, cut connection, wrong answer)."""


@dataclass(slots=True)
class Load:
    """What a closed loop of requests came to."""

    seconds: float
    done: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    busy: float = 0.0

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return self.done / self.seconds


@dataclass(slots=True)
class Stream:
    """One streamed answer; times are seconds from its start, connecting included."""

    first_piece: float = 0.0
    end: float = 0.0


@dataclass(slots=True)
class Waves:
    """What waves of streams came to; ``streams`` are the right ones."""

    streams: list[Stream] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    cpu: float = 0.0

    @property
    def busy(self) -> float:
        """The share of a core that was used here."""
        return self.cpu / self.seconds


class Answer:
    """Reads one HTTP/1.1 response as its bytes come."""

    __slots__ = ("_chunked", "_data", "_head_end", "_length", "close", "status")

    def __init__(self) -> None:
        self._data = bytearray()
        self._head_end = 0
        self._length: int | None = None
        self._chunked = False
        self.close = False
        self.status = 0

    def feed(self, data: bytes) -> bool:
        """Takes what was received (nothing: the server has closed); True when the response is whole.

        :raises Failure: it ended too early.
        """
        if not data:
            if self._head_end and self._length is None and not self._chunked:
                self.close = True
                return True
            raise Failure("connection cut")
        self._data += data
        if not self._head_end and not self._read_head():
            return False
        if self._length is not None:
            return len(self._data) >= self._head_end + self._length
        return self._chunked and self._data.endswith(_CHUNKS_END)

    @property
    def begun(self) -> bool:
        """Whether the first event of a stream is there."""
        return bool(self._head_end) and self._data.find(b"data:", self._head_end) >= 0

    def body(self) -> bytes:
        """The body, chunks joined."""
        raw = bytes(self._data[self._head_end :])
        return _joined(raw) if self._chunked else raw

    def _read_head(self) -> bool:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return False
        self._head_end = end + 4
        lines = bytes(self._data[:end]).lower().split(b"\r\n")
        self.status = int(lines[0].split(b" ", 2)[1])
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            if name == b"content-length":
                self._length = int(value)
            elif name == b"transfer-encoding":
                self._chunked = b"chunked" in value
            elif name == b"connection":
                self.close = b"close" in value
        return True


def _joined(raw: bytes) -> bytes:
    parts: list[bytes] = []
    at = 0
    while True:
        line_end = raw.index(b"\r\n", at)
        size = int(raw[at:line_end].split(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(raw[line_end + 2 : line_end + 2 + size])
        at = line_end + 4 + size


class _Connection:
    __slots__ = ("answer", "number", "sock", "started", "stream", "touched")

    def __init__(self, number: int) -> None:
        self.number = number
        self.sock: socket.socket | None = None
        self.answer = Answer()
        self.stream = Stream()
        self.started = self.touched = 0.0


class _Loop:
    """Sends one request a connection and hands finished answers over; what both kinds of load share."""

    def __init__(
        self,
        port: int,
        connections: int,
        finished: Callable[[_Connection], bytes | None],
        lost: Callable[[_Connection, str], bytes | None],
        timeout: float = TIMEOUT,
    ) -> None:
        self._timeout = timeout
        self._address = ("127.0.0.1", port)
        self._selector = selectors.DefaultSelector()
        self._finished = finished
        self._lost = lost
        self.connections = [_Connection(number) for number in range(connections)]
        self._busy = 0
        self._buffer_size = 1 << 18

    def send(self, connection: _Connection, request: bytes | None) -> None:
        """Sends the connection's next request, or, if there is none, lets it rest."""
        if request is None:
            self._close(connection)
            return
        self._busy += 1
        connection.answer = Answer()
        connection.stream = Stream()
        connection.started = connection.touched = time.perf_counter()
        if connection.sock is None:
            self._connect(connection, request)
            return
        try:
            connection.sock.send(request)
        except OSError as error:
            self._fail(connection, type(error).__name__)

    def run(self) -> None:
        """Until no connection has a request in flight."""
        look_at = time.perf_counter() + 1
        while self._busy:
            for key, mask in self._selector.select(0.5):
                if mask & selectors.EVENT_WRITE:
                    self._connected(key.data[0], key.data[1])
                else:
                    self._readable(key.data[0])
            if time.perf_counter() > look_at:
                look_at = time.perf_counter() + 1
                self._expire()

    def close(self) -> None:
        """Closes every connection, whatever it was doing."""
        for connection in self.connections:
            self._close(connection)
        self._selector.close()

    def _connect(self, connection: _Connection, request: bytes) -> None:
        sock = connection.sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(self._address)
        self._selector.register(sock, selectors.EVENT_WRITE, (connection, request))

    def _connected(self, connection: _Connection, request: bytes) -> None:
        assert connection.sock is not None
        self._selector.modify(connection.sock, selectors.EVENT_READ, (connection, b""))
        try:
            connection.sock.send(request)
        except OSError as error:
            self._fail(connection, type(error).__name__)

    def _readable(self, connection: _Connection) -> None:
        assert connection.sock is not None
        try:
            whole = connection.answer.feed(connection.sock.recv(self._buffer_size))
        except (OSError, Failure) as error:
            self._fail(connection, str(error) if isinstance(error, Failure) else type(error).__name__)
            return
        connection.touched = time.perf_counter()
        if not connection.stream.first_piece and connection.answer.begun:
            connection.stream.first_piece = connection.touched - connection.started
        if whole:
            self._busy -= 1
            if connection.answer.close:
                self._close(connection)
            self.send(connection, self._finished(connection))

    def _expire(self) -> None:
        limit = time.perf_counter() - self._timeout
        for connection in self.connections:
            if connection.sock is not None and connection.touched < limit:
                self._fail(connection, f"no answer in {self._timeout:g} s")

    def _fail(self, connection: _Connection, kind: str) -> None:
        self._busy -= 1
        self._close(connection)
        self.send(connection, self._lost(connection, kind))

    def _close(self, connection: _Connection) -> None:
        if connection.sock is not None:
            self._selector.unregister(connection.sock)
            connection.sock.close()
            connection.sock = None


def load(port: int, script: Script, connections: int, seconds: float) -> Load:
    """Each connection sends its next request as soon as it has its answer, for *seconds*.

    Answers that come after the time is up are checked, too, but only their errors count.
    """
    result = Load(seconds)

    def finished(connection: _Connection) -> bytes | None:
        now = time.perf_counter()
        try:
            script.check(connection.number, connection.answer.status, connection.answer.body())
        except Failure as error:
            result.errors[str(error)] += 1
            script.failed(connection.number)
        else:
            if now <= end:
                result.done += 1
                result.latencies.append(now - connection.started)
        return script.request(connection.number) if now < end else None

    def lost(connection: _Connection, kind: str) -> bytes | None:
        result.errors[kind] += 1
        script.failed(connection.number)
        return script.request(connection.number) if time.perf_counter() < end else None

    loop = _Loop(port, connections, finished, lost)
    used, begin = time.process_time(), time.perf_counter()
    end = begin + seconds
    for connection in loop.connections:
        loop.send(connection, script.request(connection.number))
    loop.run()
    result.busy = (time.process_time() - used) / (time.perf_counter() - begin)
    loop.close()
    return result


def streams(
    port: int,
    request: Callable[[int], bytes],
    check: Callable[[int, bytes], None],
    count: int,
    again: Callable[[float], bool],
    timeout: float = TIMEOUT,
) -> Waves:
    """*count* streams at the same time, once more while ``again(seconds so far)`` is true.

    :param timeout: seconds without any byte after which a stream counts as lost.
    :param check: (status, body) raises Failure for a wrong answer; called while the clock stands still.
    """
    result = Waves()
    while not result.seconds or again(result.seconds):
        _wave(port, request, check, count, result, timeout)
    return result


def _wave(
    port: int,
    request: Callable[[int], bytes],
    check: Callable[[int, bytes], None],
    count: int,
    result: Waves,
    timeout: float,
) -> None:
    answers: list[tuple[Stream, Answer]] = []

    def finished(connection: _Connection) -> None:
        connection.stream.end = connection.touched - connection.started
        answers.append((connection.stream, connection.answer))

    def lost(connection: _Connection, kind: str) -> None:
        result.errors[kind] += 1

    loop = _Loop(port, count, finished, lost, timeout)
    cpu, begin = time.process_time(), time.perf_counter()
    for connection in loop.connections:
        loop.send(connection, request(connection.number))
    loop.run()
    result.seconds += time.perf_counter() - begin
    result.cpu += time.process_time() - cpu
    loop.close()
    for stream, answer in answers:
        try:
            check(answer.status, answer.body())
        except Failure as error:
            result.errors[str(error)] += 1
        else:
            result.streams.append(stream)


class Held:
    """Streams that are begun and kept open until :meth:`close`."""

    def __init__(self, port: int, request: Callable[[int], bytes], count: int) -> None:
        """:raises RuntimeError: not every stream has sent its first piece in time."""
        self._sockets: list[socket.socket] = []
        try:
            for number in range(count):
                sock = socket.create_connection(("127.0.0.1", port), timeout=OPEN_TIMEOUT)
                self._sockets.append(sock)
                sock.sendall(request(number))
            for sock in self._sockets:
                _await_piece(sock)
        except (OSError, Failure) as error:
            self.close()
            raise RuntimeError(f"{len(self._sockets)} of {count} streams were opened: {error!r}") from None

    def close(self) -> None:
        """Leaves every stream."""
        for sock in self._sockets:
            sock.close()


def _await_piece(sock: socket.socket) -> None:
    answer = Answer()
    while not answer.begun:
        answer.feed(sock.recv(65536))
