"""The server for work on a component: it starts again when a file changes, and shows errors in full."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException
from werkzeug.serving import is_running_from_reloader, run_simple

from appbuilder.errors import AppBuilderError
from appbuilder.serve.server.address import announce, is_loopback, listen
from appbuilder.serve.wsgi.http_handler import handler_class
from appbuilder.serve.wsgi.process_env import owns_process
from appbuilder.serve.wsgi.socket_deadlines import SocketDeadlines
from appbuilder.settings import Settings

if TYPE_CHECKING:
    from flask import Flask


def serve(app: Flask, *, host: str, port: int, settings: Settings, drain: Callable[[], None]) -> None:
    """Serves until Ctrl-C. Turns that run when a file changes or the process ends are cut off.

    Where there is no script to run again (a notebook, a prompt, another thread) it is the threaded server.
    werkzeug's interactive debugger, a console in the browser, is there only on a loopback host, and only for
    routes the program added: what fails in a turn is answered as JSON.

    :raises ConfigurationError: the address cannot be listened on.
    """
    if not (owns_process() and _is_script()):
        from appbuilder.serve.wsgi.threaded_server import serve as serve_threaded

        serve_threaded(app, host=host, port=port, settings=settings, drain=drain)
        return
    debugger = is_loopback(host)
    if debugger:
        _raise_unknown_errors(app)
    if not is_running_from_reloader():
        listen(host, port).close()  # werkzeug's own complaint is several lines
        announce(app, host, port)
    run_simple(
        host,
        port,
        app,
        use_reloader=True,
        # Always there; another, which werkzeug prefers where it is installed, misses some changes.
        reloader_type="stat",
        use_debugger=debugger,
        use_evalex=debugger,
        threaded=True,
        request_handler=handler_class(SocketDeadlines(settings.body_timeout, settings.write_timeout)),
    )


def _raise_unknown_errors(app: Flask) -> None:
    """Lets errors of the program's own routes through to the debugger; turns answer theirs themselves."""
    handlers = app.error_handler_spec[None][None]
    answer: Any = handlers[Exception]

    def handle(error: Exception) -> Any:
        if isinstance(error, (HTTPException, AppBuilderError)):
            return answer(error)
        raise error

    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.register_error_handler(Exception, handle)


def _is_script() -> bool:
    """Whether running the program again is running a file again."""
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    return path is not None and os.path.exists(path) and not hasattr(sys, "ps1")
