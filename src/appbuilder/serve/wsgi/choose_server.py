"""``serve_app``: an application on the server that fits where it is called from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from appbuilder.serve.wsgi.process_env import may_fork
from appbuilder.settings import Settings

if TYPE_CHECKING:
    from flask import Flask


def serve_app(
    app: Flask,
    *,
    host: str,
    port: int,
    debug: bool,
    settings: Settings,
    drain: Callable[[], None],
) -> None:
    """Serves until the process, or in a notebook the cell, is stopped.

    :param debug: True: the development server. False: gunicorn, started from this process; where it cannot
        run (Windows, a notebook, another thread than the main one) a threaded server.
    :param drain: takes no new turns, returns when this process's turns have ended, soon if interrupted by
        KeyboardInterrupt. Called once per process.
    :raises ConfigurationError: the address cannot be listened on, or the worker class is not installed.
    """
    if debug:
        from appbuilder.serve.wsgi.development_server import serve as serve_development

        serve_development(app, host=host, port=port, settings=settings, drain=drain)
    elif may_fork():
        from appbuilder.serve.wsgi.gunicorn_server import serve as serve_production

        serve_production(app, host=host, port=port, settings=settings, drain=drain)
    else:
        from appbuilder.serve.wsgi.threaded_server import serve as serve_threaded

        serve_threaded(app, host=host, port=port, settings=settings, drain=drain)
