"""The service on uvicorn, in this process."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from appbuilder.logs import logger
from appbuilder.serve.page.page_requests import most_of_socket
from appbuilder.serve.server.address import BACKLOG
from appbuilder.serve.server.allocator import set_up_allocator
from appbuilder.serve.server.connections import Connection, watching
from appbuilder.serve.server.uvicorn_thread import UvicornThread, serve_until_stopped
from appbuilder.settings import Settings

MOST_FILES = 262_144
"""Open files asked for; each connection is one."""
_ACCEPTED_AT_ONCE = 8
"""Connections taken in one turn of the loop. libuv takes one from each of its listening handles, so that of
1,000 that come together, while hundreds of streams are served, the last waited for four seconds."""
_SWITCH_INTERVAL = 0.02
"""Seconds after which a thread that waits for the interpreter asks the one that has it to let go. As many
threads as there are streams of synchronous components wait for it, and each wakes up that often to ask: at
Python's 0.005 that alone took more processor time than 1,000 paced streams."""
_MOST_UNSENT = 64 * 1024
"""Bytes of a connection that may lie unsent in the kernel. Of its own it takes megabytes, and says that there
is room again when a third of them have left: a slow reader would look like one that reads nothing."""
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
    """Serves *app* on *listeners* until Ctrl-C or SIGTERM, see :func:`serve_until_stopped`."""
    raise_open_files()
    set_up_allocator()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    # What is there by now stays. To look through all of it for garbage takes a tenth of a second, again and
    # again while many turns begin.
    gc.collect()
    gc.freeze()
    options: dict[str, Any] = {
        "http": Connection,
        "loop": "uvloop" if os.name == "posix" else "asyncio",
        "timeout_keep_alive": _KEEP_ALIVE,
        "limit_concurrency": settings.max_connections + 1,  # for uvicorn the first that is too many
        "backlog": BACKLOG,
        "ws_max_size": most_of_socket(settings.max_body),
    }
    kind = watching(settings.body_timeout, settings.write_timeout)
    server = UvicornThread(app, _each_many_times(listeners), options, kind)
    serve_until_stopped(server, drain=drain, close=close, last=last)


def _each_many_times(listeners: Sequence[socket.socket]) -> list[socket.socket]:
    for each in listeners:
        # A copy blocks if its original does, and whether it does is the same for all of them, and for all
        # workers: one that sees a connection which another one takes would wait for the next in accept().
        each.setblocking(False)
        if each.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            # Inherited by the connections.
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST_UNSENT)
    copies = [each.dup() for each in listeners for _ in range(_ACCEPTED_AT_ONCE - 1)]
    return [*listeners, *copies]


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
