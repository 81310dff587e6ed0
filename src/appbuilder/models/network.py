"""Connections whose blocked reads end when the turn they serve is stopped.

Closing a socket does not wake a thread that waits in ``recv`` on it; shutting it down does, with threads
and with gevent's greenlets alike. Which turn a connection serves is seen when a request is written to it,
so that a pooled connection never belongs to two.
"""

from __future__ import annotations

import _socket
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import httpcore2

from appbuilder.cooperation import uses_greenlets
from appbuilder.core.cancel import CancelToken
from appbuilder.core.context import current_context
from appbuilder.models.timeouts import Patience

_SLICE = 64 * 1024
"""Bytes written at once: what one time-out is for."""

_T = TypeVar("_T")


def current_token() -> CancelToken | None:
    """The cancel token of the current turn, or None outside of one."""
    context = current_context()
    return None if context is None else context.cancel_token


class InterruptibleBackend(httpcore2.NetworkBackend):
    """httpcore's blocking network backend, with :class:`_Stream` as its streams.

    Connecting itself cannot be broken off; it ends by ``connect_timeout``.
    """

    def __init__(self) -> None:
        self._inner = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        token = current_token()
        if token is not None:
            token.raise_if_cancelled()
        return _Stream(self._inner.connect_tcp(host, port, timeout, local_address, socket_options), token)


class _Stream(httpcore2.NetworkStream):
    def __init__(self, inner: httpcore2.NetworkStream, token: CancelToken | None) -> None:
        self._inner = inner
        self._token = token

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = _left(timeout, httpcore2.ReadTimeout)
        with _within(left, httpcore2.ReadTimeout):
            return self._until_cancelled(lambda: self._inner.read(max_bytes, left))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._token = current_token()
        # The inner stream's time-out begins again with each byte the other side takes.
        for start in range(0, len(buffer), _SLICE):
            part, left = buffer[start : start + _SLICE], _left(timeout, httpcore2.WriteTimeout)
            self._until_cancelled(lambda part=part, left=left: self._inner.write(part, left))  # type: ignore[misc]

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        with _within(timeout, httpcore2.ConnectTimeout):
            return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout), self._token)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def _until_cancelled(self, work: Callable[[], _T]) -> _T:
        token = self._token
        if token is None:
            return work()
        forget = token.on_cancel(self._shut_down)
        try:
            return work()
        finally:
            # After this no cancellation can reach the socket any more: either the callback was taken back, or
            # the token is set, and then the error closes the connection instead of pooling it.
            forget()
            token.raise_if_cancelled()

    def _shut_down(self) -> None:
        shut_down(self._inner.get_extra_info("socket"))


def _left(timeout: float | None, over: type[Exception]) -> float | None:
    """The time-out of one operation: what is left of *timeout* where it counts more than one."""
    if type(timeout) is not Patience:
        return timeout
    left = timeout.left()
    if left <= 0:
        raise over("the time is over")
    return left


@contextlib.contextmanager
def _within(seconds: float | None, over: type[Exception]) -> Iterator[None]:
    """Bounds what waits more than once: in greenlets TLS begins its time-out again with each byte."""
    if seconds is None or not uses_greenlets():
        yield
        return
    from gevent import Timeout

    with Timeout(seconds, over("the time is over")):
        yield


def shut_down(sock: Any) -> None:
    """Ends both directions of *sock*, from any thread, and wakes whoever waits for it.

    It goes past ``SSLSocket.shutdown``, which takes the TLS state from under a running read, and past
    gevent's, which may only be called in the socket's own thread.
    """
    raw = getattr(sock, "_sock", sock)
    with contextlib.suppress(OSError, TypeError):
        _socket.socket.shutdown(raw, socket.SHUT_RDWR)
