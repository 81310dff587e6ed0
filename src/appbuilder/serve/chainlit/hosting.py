"""uvicorn for the page, in a thread with a loop of its own, and the way it comes to its end.

Chainlit's own lifespan ends the process with ``os._exit(0)``, in the middle of commits: it is never run.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import uvicorn

from appbuilder.errors import ConfigurationError
from appbuilder.logs import logger
from appbuilder.serve.address import listen, reachable, shown_url
from appbuilder.serve.chainlit.load import put_away
from appbuilder.serve.signals import signals
from appbuilder.settings import Settings

_LAST_WRITES = 3
"""Seconds the last answers have to leave, once their turns have ended."""

_serving = threading.Lock()


def serve(
    app: Any,
    *,
    host: str,
    port: int,
    settings: Settings,
    drain: Callable[[], None],
    close: Callable[[], None],
) -> None:
    """Serves until Ctrl-C (in a notebook: the cell is interrupted) or SIGTERM; a second Ctrl-C ends at once.

    In another thread than the main one nothing tells it to stop: it goes on until the process ends.

    :param drain: takes no new turns, and returns when the running ones have ended.
    :param close: is called when nothing is served any more.
    :raises ConfigurationError: the address cannot be listened on, or a page is served here already.
    """
    if not _serving.acquire(blocking=False):
        raise ConfigurationError("A process serves one chat page: serve the other one in another process.")
    try:
        listener = listen(host, port)
        port = listener.getsockname()[1]
        server = _Server(app, listener, settings)
        logger.info("the chat page is at %s", shown_url(reachable(host), port))
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
                for last in (drain, server.stop, server.cut, close):  # each, whenever it is interrupted again
                    with contextlib.suppress(KeyboardInterrupt):
                        last()
            finally:
                server.dismiss()  # an interrupt between two of them
            if terminated.ends_process:
                put_away()
    finally:
        _serving.release()


class _Server:
    def __init__(self, app: Any, listener: socket.socket, settings: Settings) -> None:
        self._listener = listener
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=2 * max(1, settings.threads) + 100,
            timeout_graceful_shutdown=_LAST_WRITES,
            ws_max_size=1024 * 1024,
        )
        self._server = _Uvicorn(config)
        self._thread = threading.Thread(target=self.run, name="appbuilder-page", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._listener.close()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(2 * _LAST_WRITES)

    def cut(self) -> None:
        """Ends what :meth:`stop` has left; a notebook goes on, and nothing may be served in it then."""
        self.dismiss()
        self._thread.join(_LAST_WRITES)

    def dismiss(self) -> None:
        """Tells it to end, and waits for nothing."""
        self._server.should_exit = self._server.force_exit = True


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Signals are handled by whoever called us."""
        yield
