"""The service on uvicorn, in this process."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from appbuilder.logs import logger
from appbuilder.serve.asgi.connections import Connection, watching
from appbuilder.serve.uvicorn_thread import UvicornThread, serve_until_told
from appbuilder.settings import Settings

MOST_SOCKET_MESSAGE = 1024 * 1024
"""Bytes of one message over a socket."""
MOST_FILES = 262_144
"""Open files asked for; each connection is one."""
_KEEP_ALIVE = 75
"""Seconds a connection may rest between two requests: longer than proxies keep theirs (nginx: 60), so that
none sends a request on a connection that is being closed."""


def serve(
    app: Any,
    listeners: Sequence[socket.socket],
    *,
    settings: Settings,
    drain: Callable[[], None],
    close: Callable[[], None],
    last: Callable[[], None] = lambda: None,
) -> None:
    """Serves *app* on *listeners* until Ctrl-C or SIGTERM, see :func:`serve_until_told`."""
    raise_open_files()
    options: dict[str, Any] = {
        "http": Connection,
        "loop": "uvloop" if os.name == "posix" else "asyncio",
        "timeout_keep_alive": _KEEP_ALIVE,
        "limit_concurrency": settings.max_connections,
        "ws_max_size": MOST_SOCKET_MESSAGE,
    }
    kind = watching(settings.body_timeout, settings.write_timeout)
    server = UvicornThread(app, list(listeners), options, kind)
    serve_until_told(server, drain=drain, close=close, last=last)


def raise_open_files() -> None:
    """Lets this process have as many files open as it may: the soft limit is made for programs with few."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows, which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            logger.debug("%d files may be open", most)
