"""The page on uvicorn.

Chainlit's own lifespan ends the process with ``os._exit(0)``, in the middle of commits: it is never run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from appbuilder.errors import ConfigurationError
from appbuilder.logs import logger
from appbuilder.serve.page.chainlit_setup import cleanup
from appbuilder.serve.page.page_requests import most_of_socket
from appbuilder.serve.server.address import listen, reachable, shown_url
from appbuilder.serve.server.http11 import Http11Protocol
from appbuilder.serve.server.uvicorn_thread import UvicornThread, serve_until_stopped
from appbuilder.settings import Settings

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
        most = 2 * max(1, settings.threads) + 100
        largest = most_of_socket(settings.max_body)
        options = {"http": Http11Protocol, "limit_concurrency": most, "ws_max_size": largest}
        server = UvicornThread(app, [listener], options)
        logger.info("the chat page is at %s", shown_url(reachable(host), port))
        serve_until_stopped(server, drain=drain, close=close, last=cleanup)
    finally:
        _serving.release()

