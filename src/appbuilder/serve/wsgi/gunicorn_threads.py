"""gunicorn's thread worker, with deadlines for clients and an end for turns."""

from __future__ import annotations

import errno
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import ThreadWorker

from appbuilder.logs import logger
from appbuilder.serve.server.allocator import set_up_allocator
from appbuilder.serve.wsgi.socket_deadlines import DeadlineSocket, SocketDeadlines

_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class DrainingWorker(Worker):
    """What both kinds of worker do when the process is stopped.

    ``self.app`` is the :class:`appbuilder.serve.wsgi.gunicorn_server.Application`.
    """

    app: Any
    alive: bool
    wsgi: Any
    _drained: threading.Event | None = None

    @property
    def limits(self) -> SocketDeadlines:
        """The deadlines of this worker's clients."""
        limits: SocketDeadlines = self.app.limits
        return limits

    def load_wsgi(self) -> None:
        """Lets the application close a connection, which gunicorn otherwise keeps to itself."""
        super().load_wsgi()
        self.wsgi = _closing(self.wsgi)

    def init_signals(self) -> None:
        """A terminal sends Ctrl-C to every process; here the master alone decides what it means."""
        super().init_signals()
        signal.signal(signal.SIGINT, _nothing)

    def notify(self) -> None:
        """gunicorn calls this at every round of its loops, also while it waits for the last requests."""
        super().notify()
        if not self.alive:
            self._begin_drain()

    def run(self) -> None:
        """Serves; then waits for the turns that no connection waits for."""
        set_up_allocator()
        super().run()
        self._begin_drain()
        assert self._drained is not None
        self._drained.wait()

    def _begin_drain(self) -> None:
        # Besides the loop, which goes on to serve the connections that are open.
        if self._drained is None:
            self._drained = threading.Event()
            threading.Thread(target=self._drain, name="appbuilder-drain", daemon=True).start()

    def _drain(self) -> None:
        assert self._drained is not None
        try:
            self.app.drain()
        except Exception:  # noqa: BLE001 - the worker must end all the same
            logger.exception("the turns that were running could not be ended")
        finally:
            self._drained.set()


class Pool(ThreadPoolExecutor):
    """Threads; where the system gives no more, what was submitted waits for one of those there are."""

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:  # Python's word for no more threads; the job is in the queue by now
            if not self._threads:
                raise
            logger.warning("no more threads: %d serve", len(self._threads))


class Threads(DrainingWorker, ThreadWorker):
    """A thread per request."""

    def get_thread_pool(self) -> Pool:
        """The threads."""
        return Pool(max_workers=self.cfg.threads)

    def accept(self, listener: Any) -> None:
        """As gunicorn's, but running out of file descriptors is no reason to end the worker."""
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in _OUT_OF_FILES:
                raise
            logger.warning("no more connections: %s (see `ulimit -n`)", error.strerror)
            time.sleep(0.1)  # the connection is still waiting: the loop would come back at once

    def is_parent_alive(self) -> bool:
        """False when the master is gone: then the worker ends, in order."""
        # Never set to True: SIGTERM may come between a look at it and that.
        if not super().is_parent_alive():
            self.alive = False
        return bool(self.alive)

    def enqueue_req(self, conn: Any) -> None:
        """Gives a connection with a request to a thread."""
        if not isinstance(conn.sock, DeadlineSocket):
            conn.sock = DeadlineSocket(conn.sock, self.limits, lambda: self.alive)
        super().enqueue_req(conn)

    def handle(self, conn: Any) -> Any:
        """Serves one request; runs in a thread."""
        keep = super().handle(conn)
        if not keep:
            # Else gunicorn does it in its only loop, and each client that stays open stops that for 2 s.
            conn.sock.finish()
        return keep


def _nothing(*_: object) -> None:
    pass


def _closing(app: Any) -> Any:
    """*app*, whose header ``Connection: close`` closes the connection, instead of being left out."""

    def application(environ: Any, start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            if ("Connection", "close") in headers:
                start_response.__self__.force_close()
            return start_response(status, headers, *error)

        return app(environ, start)

    return application
