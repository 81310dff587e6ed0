"""gunicorn, started from the process that calls ``serve``; the program is not run again.

The workers are forked from here, and the engine, its connections, threads and models are made in them.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from appbuilder.errors import ConfigurationError
from appbuilder.logs import logger
from appbuilder.serve.server.address import announce, listen
from appbuilder.serve.wsgi.socket_deadlines import KEEPALIVE, SocketDeadlines
from appbuilder.settings import Settings

if TYPE_CHECKING:
    from flask import Flask

_WORKER_GRACE = 4
"""Seconds a worker has after the drain's deadline: to mark what is left, and to send the last events."""
_MASTER_GRACE = 3
"""Seconds the master gives it beyond that, before it kills."""
_EXIT_TIME = 2
"""Seconds a worker's interpreter has for its own end."""


def serve(app: Flask, *, host: str, port: int, settings: Settings, drain: Callable[[], None]) -> None:
    """Serves until SIGTERM or Ctrl-C, then returns; a second Ctrl-C ends at once.

    :raises ConfigurationError: the address cannot be listened on, or gevent is not installed.
    """
    worker = _worker_class(settings)
    listener = listen(host, port)
    port = listener.getsockname()[1]
    application = Application(
        app, listener, worker, settings, drain, ready=lambda: announce(app, host, port)
    )
    with _signals_kept():
        application.run()


class Application(BaseApplication):
    """The application as gunicorn wants it. ``limits`` and ``drain`` are read by the workers."""

    def __init__(
        self,
        app: Flask,
        listener: socket.socket,
        worker: type,
        settings: Settings,
        drain: Callable[[], None],
        *,
        ready: Callable[[], None],
    ) -> None:
        self.limits = SocketDeadlines(settings.body_timeout, settings.write_timeout)
        self.drain = drain
        self._app = app
        self._listener = listener
        self._worker = worker
        self._settings = settings
        self._ready = ready
        super().__init__()

    def load(self) -> Flask:
        """The application itself: it was made before the fork."""
        return self._app

    def load_config(self) -> None:
        """gunicorn's settings. Its own configuration files and variables are not read."""
        connections = _connections(self._settings.threads)
        stop = math.ceil(self._settings.drain_timeout) + _WORKER_GRACE
        options = {
            "bind": [f"fd://{self._listener.fileno()}"],
            "worker_class": self._worker,
            "workers": max(1, self._settings.workers),
            "threads": max(1, self._settings.threads),
            "worker_connections": connections,
            "keepalive": KEEPALIVE,
            # No watchdog: it would kill a worker, and with it every other turn, for a component that
            # computes long under gevent. A worker that hangs does not answer GET /health.
            "timeout": 0,
            "graceful_timeout": stop + _MASTER_GRACE,
            "logger_class": _Log,
            "control_socket_disable": True,
            "when_ready": lambda _: self._ready(),
            "post_fork": _in_worker(stop),
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def run(self) -> None:
        """Serves; returns in the master only.

        :raises SystemExit: the workers do not start; the log says why.
        """
        try:
            _Master(self).run()
        except SystemExit as ended:
            if ended.code:
                raise


class _Master(Arbiter):
    def start(self) -> None:
        super().start()
        self.app._listener.detach()  # gunicorn has taken the descriptor over

    def handle_int(self) -> None:
        """Ctrl-C: as SIGTERM. The next one, while the workers finish, ends at once."""
        logger.info("stopping; press Ctrl-C again to stop at once")
        raise StopIteration

    def handle_usr2(self) -> None:
        """gunicorn's change of the running program: it would run the script again."""
        logger.warning("SIGUSR2 is not supported; start the new program and stop this one")

    def spawn_worker(self) -> Any:
        """Forks a worker; what follows ``serve`` in the program is for the master alone."""
        master = os.getpid()
        try:
            return super().spawn_worker()
        except BaseException as error:
            if os.getpid() == master:
                raise
            # In the worker nothing may leave this method.
            _leave(error)


def _leave(error: BaseException) -> NoReturn:
    """Ends a worker's process as Python would, but not later than the master wants it ended."""
    code = error.code if isinstance(error, SystemExit) else 1
    if not isinstance(error, SystemExit):
        logger.error("a worker ended", exc_info=error)
    # A component that never returns would hold the interpreter. The alarm's default action ends it.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, _EXIT_TIME)
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code if isinstance(code, int) else 0)


def _in_worker(stop: int) -> Callable[[Any, Any], None]:
    def post_fork(_: Any, worker: Any) -> None:
        # The master's handlers, inherited, would swallow a SIGTERM that comes before the worker's own.
        for number in (signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        worker.cfg.set("graceful_timeout", stop)

    return post_fork


def _worker_class(settings: Settings) -> type:
    if settings.worker_class != "gevent" and not _patched_by_gevent():
        from appbuilder.serve.wsgi.gunicorn_threads import Threads

        return Threads
    try:
        from appbuilder.serve.wsgi.gunicorn_gevent import Greenlets
    except (ImportError, RuntimeError):  # gunicorn makes the second of the first
        raise ConfigurationError(
            "APPBUILDER_WORKER_CLASS=gevent needs gevent: pip install 'appbuilder-runtime[gevent]'"
        ) from None
    return Greenlets


def _patched_by_gevent() -> bool:
    """Whether the program has chosen gevent by itself."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _connections(threads: int) -> int:
    """Connections a worker may hold, idle ones included; raises the limit on open files to fit.

    A connection counts twice: what it asks for may need one to a model server.
    """
    import resource

    wanted = 2 * max(1, threads) + 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = 2 * wanted + 256
    if soft != resource.RLIM_INFINITY and soft < files:
        allowed = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < files:
            wanted = max(10, (allowed - 256) // 2)
            logger.warning("at most %d connections: the limit on open files is %d", wanted, allowed)
    return wanted


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Puts the program's own signal handlers back afterwards."""
    kept = {number: signal.getsignal(number) for number in (*Arbiter.SIGNALS, signal.SIGCHLD)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


class _Log(Logger):
    """gunicorn's messages, through our logger. What a client sent in a bad request is not written down."""

    error_log: Any

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in list(self.error_log.handlers):
            self.error_log.removeHandler(handler)
        self.error_log = logger

    def info(self, msg: str, *args: Any, **kwargs: Any) -> None:
        logger.debug(msg, *args, **kwargs)

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        if msg.startswith("Invalid request from"):
            logger.debug("a request that is not HTTP was refused")
        else:
            logger.warning(msg, *args, **kwargs)

    def log(self, lvl: Any, msg: str, *args: Any, **kwargs: Any) -> None:
        logger.log(lvl if isinstance(lvl, int) else logging.DEBUG, msg, *args, **kwargs)
