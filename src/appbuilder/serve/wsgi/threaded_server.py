"""A threaded server, for where gunicorn cannot run: notebooks, Windows, threads of other programs."""

from __future__ import annotations

import atexit
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from werkzeug.serving import ThreadedWSGIServer

from appbuilder.logs import logger
from appbuilder.serve.server.address import announce, listen
from appbuilder.serve.server.signals import signals
from appbuilder.serve.wsgi.http_handler import handler_class
from appbuilder.serve.wsgi.socket_deadlines import SocketDeadlines
from appbuilder.settings import Settings

if TYPE_CHECKING:
    from flask import Flask

_LAST_WRITES = 3.0
"""Seconds the last answers have to leave, once their turns have ended."""
_POLL = 0.1
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
)


def serve(app: Flask, *, host: str, port: int, settings: Settings, drain: Callable[[], None]) -> None:
    """Serves until Ctrl-C (in a notebook: the cell is interrupted) or SIGTERM; a second Ctrl-C ends at once.

    In another thread than the main one nothing tells it to stop: it goes on until the process ends, and the
    turns that run then are drained.

    :raises ConfigurationError: the address cannot be listened on.
    """
    listener = listen(host, port)
    server = Server(app, listener, settings)
    announce(app, host, server.port)
    if threading.current_thread() is not threading.main_thread():
        atexit.register(drain)
        server.serve_forever(_POLL)
        return
    with server.in_thread(), signals() as terminated:
        try:
            terminated.wait_for_end()
        except KeyboardInterrupt:
            logger.info("stopping; interrupt again to stop at once")
        server.stop_listening()
        with contextlib.suppress(KeyboardInterrupt):
            drain()
            server.wait_idle(_LAST_WRITES)


class Server(ThreadedWSGIServer):
    """A thread per connection, up to a limit."""

    daemon_threads = True

    def __init__(self, app: Any, listener: socket.socket, settings: Settings) -> None:
        self.limits = SocketDeadlines(settings.body_timeout, settings.write_timeout)
        self.alive = True
        self._most = max(1, settings.threads)
        self._busy = 0
        self._changed = threading.Condition()
        host, port = listener.getsockname()[:2]
        super().__init__(host, port, app, handler_class(), fd=listener.fileno())
        listener.close()  # the server has a duplicate of it
        self._loop = threading.Thread(
            target=self.serve_forever, args=(_POLL,), name="appbuilder-http", daemon=True
        )

    @contextlib.contextmanager
    def in_thread(self) -> Iterator[None]:
        """Serves in a thread of its own."""
        self._loop.start()
        try:
            yield
        finally:
            self.stop_listening()

    def stop_listening(self) -> None:
        """Takes no more connections; those that are open go on."""
        self.alive = False
        self.shutdown()
        self._loop.join()

    def wait_idle(self, timeout: float) -> None:
        """Waits until no connection is open, at most *timeout* seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._busy == 0, timeout)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            free = self._busy < self._most
            self._busy += free
        if free:
            super().process_request(request, client_address)
        else:
            with contextlib.suppress(OSError):
                request.setblocking(False)
                request.send(_BUSY)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Called within an ``except``."""
        logger.error("a connection failed", exc_info=True)

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        """One line per request is too much here."""
