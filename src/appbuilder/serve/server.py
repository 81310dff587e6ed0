"""``serve``: an application on the server that fits where it is called from."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from appbuilder.settings import Settings

if TYPE_CHECKING:
    from flask import Flask


def serve(
    app: Flask,
    *,
    host: str,
    port: int,
    debug: bool,
    settings: Settings,
    drain: Callable[[], None],
) -> None:
    """Serves until the process, or in a notebook the cell, is told to stop.

    :param debug: True: the development server. False: gunicorn, started from this process; where it cannot
        run (Windows, a notebook, another thread than the main one) a threaded server.
    :param drain: takes no new turns, returns when this process's turns have ended, soon if interrupted by
        KeyboardInterrupt. Called once per process.
    :raises ConfigurationError: the address cannot be listened on, or the worker class is not installed.
    """
    if debug:
        from appbuilder.serve.development import serve as serve_development

        serve_development(app, host=host, port=port, settings=settings, drain=drain)
    elif may_fork():
        from appbuilder.serve.production import serve as serve_production

        serve_production(app, host=host, port=port, settings=settings, drain=drain)
    else:
        from appbuilder.serve.threaded import serve as serve_threaded

        serve_threaded(app, host=host, port=port, settings=settings, drain=drain)


def owns_process() -> bool:
    """Whether the process is ours to rule: the main thread, and no event loop running in it.

    Jupyter runs cells in a running loop; signals reach the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


def may_fork() -> bool:
    """Whether gunicorn can run here: it forks its workers and rules by signals."""
    return hasattr(os, "fork") and owns_process()
