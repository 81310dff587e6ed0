"""uvicorn in a thread, while the main thread waits for signals; and the way it comes to its end."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from appbuilder.logs import logger
from appbuilder.serve.server.signals import signals

LAST_WRITES = 3
"""Seconds the last answers have to leave, once their turns have ended."""


class Server(uvicorn.Server):
    """uvicorn's server where the caller handles the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield


class UvicornThread:
    """uvicorn with an event loop of its own.

    :param options: of uvicorn's ``Config``.
    :param kind: of the server.
    """

    def __init__(
        self,
        app: Any,
        listeners: list[socket.socket],
        options: dict[str, Any],
        kind: type[Server] = Server,
    ) -> None:
        self._listeners = listeners
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=LAST_WRITES,
            **options,
        )
        self._server = kind(config)
        self._thread = threading.Thread(target=self.run, name="appbuilder-server", daemon=True)

    def start(self) -> None:
        """Serves in the thread."""
        self._thread.start()

    def run(self) -> None:
        """Serves in the caller's thread, until it is stopped."""
        try:
            self._server.run(sockets=self._listeners)
        finally:
            for listener in self._listeners:
                listener.close()

    def stop(self) -> None:
        """Takes no new connections, and waits for the last answers to leave."""
        self._server.should_exit = True
        self._thread.join(2 * LAST_WRITES)

    def cut(self) -> None:
        """Ends what :meth:`stop` has left; a notebook goes on, and nothing may be served in it then."""
        self.dismiss()
        self._thread.join(LAST_WRITES)

    def dismiss(self) -> None:
        """Tells it to end, and waits for nothing."""
        self._server.should_exit = self._server.force_exit = True


def serve_until_stopped(
    server: UvicornThread,
    *,
    drain: Callable[[], None],
    close: Callable[[], None],
    last: Callable[[], None],
) -> None:
    """Serves until Ctrl-C (in a notebook: the cell is interrupted) or SIGTERM; a second Ctrl-C ends at once.

    In another thread than the main one nothing tells it to stop: it goes on until the process ends.

    :param drain: takes no new turns, and returns when the running ones have ended.
    :param close: is called when nothing is served any more.
    :param last: is called if the process is about to be ended by SIGTERM, which passes by ``atexit``.
    """
    if threading.current_thread() is not threading.main_thread():
        server.run()
        return
    with signals() as terminated:
        server.start()
        try:
            try:
                terminated.wait_for_end()
            except KeyboardInterrupt:
                logger.info("stopping; interrupt again to stop at once")
            for step in (drain, server.stop, server.cut, close):  # each, whenever it is interrupted again
                with contextlib.suppress(KeyboardInterrupt):
                    step()
        finally:
            server.dismiss()  # an interrupt between two of them
        if terminated.ends_process:
            last()
