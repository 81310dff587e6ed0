"""A connection with deadlines, for servers that have none of their own.

gunicorn's thread and gevent workers, and Python's http.server, wait for a client that sends a byte now and
then, or never reads what it is sent, as long as it likes. This socket stands between them and the client.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

KEEPALIVE = 15
"""Seconds a connection may wait for its next request."""

_WRITE = 64 * 1024
"""Bytes a reader has the whole time of a write for, so that a large answer has more time than a small one."""
_LINGER = 2.0
_SLICE = 1.0
_AT_ONCE = 16 * 1024
"""Bytes that are sent without asking first: less than a socket's buffer in any case."""


@dataclass(frozen=True, slots=True)
class SocketDeadlines:
    """Seconds; 0 is no limit.

    ``request``: from the first byte of a request to the last of its body, in all. ``write``: that a write may
    be blocked.
    """

    request: float
    write: float


class DeadlineSocket:
    """*sock* as a server sees it. A client that is too slow looks like one that has left.

    :param alive: False once the server stops: who has not begun a request by then is not waited for.
    """

    def __init__(self, sock: Any, limits: SocketDeadlines, alive: Callable[[], bool]) -> None:
        self._sock = sock
        self._limits = limits
        self._alive = alive
        self._idle: float = limits.request or KEEPALIVE
        self._until: float | None = None  # set from a request's first byte to its answer's
        self._left = False
        self._closed = False
        # gevent's sockets wait by themselves, and cost no system call for it.
        self._plain = hasattr(socket, "MSG_DONTWAIT") and not hasattr(sock, "hub")
        self._blocking = False  # whether the socket is known to have no time-out

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, size: int) -> bytes:
        """What the client sent; nothing if it has left or is too slow."""
        if self._left:
            return b""
        if self._until is None:
            data = self._first(size)
            self._until = time.monotonic() + (self._limits.request or float("inf"))
        else:
            data = self._within(self._until - time.monotonic(), size)
        self._left = not data
        return data or b""

    def sendall(self, data: bytes) -> None:
        """Sends all of *data*.

        :raises BrokenPipeError: the client has left or does not read.
        """
        self._until = None
        self._idle = KEEPALIVE
        if not self._sent_at_once(data):
            self._send_in_time(data)

    def _send_in_time(self, data: bytes) -> None:
        self._sock.settimeout(self._limits.write or None)
        try:
            if len(data) <= _WRITE:
                self._sock.sendall(data)
            else:
                whole = memoryview(data)
                for start in range(0, len(data), _WRITE):
                    self._sock.sendall(whole[start : start + _WRITE])
        except TimeoutError:
            self._left = True
            raise BrokenPipeError(errno.EPIPE, "the client does not read") from None

    def _sent_at_once(self, data: bytes) -> bool:
        """Sends *data* without asking first, as the kernel nearly always takes it; False: it was not tried.

        A socket with a time-out is asked whether it may be written before each write, and setting one is a
        call by itself; each gives Python's lock away, which a thousand threads then want.
        """
        if not self._plain or len(data) > _AT_ONCE:
            return False
        if not self._blocking:
            self._sock.settimeout(None)
            self._blocking = True
        try:
            sent: int = self._sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return True
        self._blocking = False
        self._send_in_time(data[sent:])
        return True

    def setblocking(self, flag: bool) -> None:
        """As of any socket; nothing for one that is closed."""
        self._blocking = False
        if not self._closed:
            self._sock.setblocking(flag)

    def close(self) -> None:
        """Closes it now."""
        self._closed = True
        self._sock.close()

    def finish(self) -> None:
        """Closes it so that the client can read all it was sent.

        Closing while bytes lie unread makes the kernel send a reset, which takes the answer away from the
        client (RFC 9112, section 9.6): so they are read first, for two seconds at most.
        """
        with contextlib.suppress(OSError):
            if not (self._left or self._closed):
                self._sock.shutdown(socket.SHUT_WR)
                until = time.monotonic() + _LINGER
                while self._within(until - time.monotonic(), 65536):
                    pass
        DeadlineSocket.close(self)

    def _first(self, size: int) -> bytes | None:
        # In slices, so that a server which stops does not wait for those that say nothing.
        until = time.monotonic() + self._idle
        while (left := until - time.monotonic()) > 0 and self._alive():
            data = self._within(min(left, _SLICE), size)
            if data is not None:
                return data
        return None

    def _within(self, seconds: float, size: int) -> bytes | None:
        """What comes in *seconds*; None if nothing does."""
        if seconds <= 0:
            return None
        self._blocking = False
        self._sock.settimeout(None if seconds == float("inf") else seconds)
        try:
            data: bytes = self._sock.recv(size)
        except TimeoutError:
            return None
        return data
