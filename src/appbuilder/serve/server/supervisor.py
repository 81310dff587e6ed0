"""Several worker processes on one listening socket: started, watched, started again, ended together."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from appbuilder import clock
from appbuilder.errors import ConfigurationError
from appbuilder.ids import new_id
from appbuilder.logs import logger
from appbuilder.serve.server.signals import Terminated, signals

LOOK_EVERY = 0.2
"""Seconds between two looks at the workers."""
QUICK_DEATH = 10.0
"""Seconds; a worker that dies sooner is started again only after a pause."""
LONGEST_PAUSE = 30.0
GRACE = 10.0
"""Seconds workers have, besides the time for their turns, to end by themselves."""


@dataclass(frozen=True, slots=True)
class WorkerSlot:
    """What a worker has to know of the service it is part of.

    :param listener: descriptor of the service's listening socket.
    :param alive: descriptor that reads as ended when the supervisor is gone.
    :param ready: descriptor to write a byte to when it serves.
    :param page_socket: path of the socket of the worker with the page; empty: this is the only worker.
    :param page_listener: descriptor of that socket in the worker with the page; -1 in the others.
    :param name: an id of the place: a process that is started again there has it, too.
    """

    listener: int
    alive: int
    ready: int
    page_socket: str = ""
    page_listener: int = -1
    name: str = ""

    @property
    def arguments(self) -> list[str]:
        """For the worker's command line; :meth:`read` understands them."""
        numbers = (self.listener, self.alive, self.ready, self.page_listener)
        return [*map(str, numbers), self.page_socket, self.name]

    @classmethod
    def read(cls, arguments: Sequence[str]) -> WorkerSlot:
        """The place that *arguments* are of."""
        listener, alive, ready, page_listener = map(int, arguments[:4])
        return cls(listener, alive, ready, arguments[4], page_listener, arguments[5])


SECRET = "APPBUILDER_RELAY_SECRET"  # noqa: S105 - the name of a variable
RELOADS = "APPBUILDER_RELOADS"
"""Tells a worker that it is started again when the program changes."""
RELOADED = RELOADS in os.environ
"""Whether this process is such a worker: the program's author is at work."""
"""The environment variable in which workers find what shows that a request was passed on by another."""


@dataclass(slots=True)
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    ready: int
    started: float = field(default_factory=clock.monotonic)
    served: bool = False


class Supervisor:
    """Runs workers until it is stopped.

    :param command: the command of a worker, to which its place's arguments are added.
    :param listener: the service's listening socket.
    :param workers: how many.
    :param drain_timeout: seconds their turns have to end.
    :param on_death: receives the process id of each worker that has ended.
    :param changed: whether the program has changed since it was asked last: the workers are restarted;
        None: it does not change.
    """

    def __init__(
        self,
        command: Sequence[str],
        listener: socket.socket,
        *,
        workers: int,
        drain_timeout: float,
        environ: Mapping[str, str],
        on_death: Callable[[int], None] = lambda _: None,
        changed: Callable[[], bool] | None = None,
    ) -> None:
        self._command = list(command)
        self._listener = listener
        self._count = workers
        self._patience = drain_timeout + GRACE
        self._environ = {**environ, SECRET: secrets.token_hex(32)}
        self._on_death = on_death
        # A program that is worked on may fail to start: the next change may mend it.
        self._reloads = changed is not None
        self._changed = changed or (lambda: False)
        self._workers: dict[int, _Worker] = {}
        self._names = [new_id() for _ in range(workers)]
        # The first worker starts alone: it prepares the database, and what is wrong is said once.
        self._starting = True
        self._have_served: set[int] = set()
        self._pauses: dict[int, float] = {}
        self._due: dict[int, float] = {}
        self._folder = ""
        self._page: socket.socket | None = None
        # The workers' end reads as ended when this process is gone, however it went.
        self._alive, self._held = os.pipe()

    def run(self, ready: Callable[[], None]) -> int:
        """Returns the exit status: 0, or that of a worker that could not start.

        :param ready: called once, when all workers serve.
        """
        with signals() as terminated:
            try:
                return self._run(terminated, ready)
            except KeyboardInterrupt:
                logger.info("stopping; interrupt again to stop at once")
                return 0
            finally:
                self._end()

    def _run(self, terminated: Terminated, ready: Callable[[], None]) -> int:
        self._open_page_socket()
        self._start(0)
        announced = False
        while not terminated.wait(LOOK_EVERY):
            if self._changed():
                self._restart()
            failed = self._look()
            if failed and not self._reloads:
                return failed
            if self._starting and 0 in self._workers and self._serves(self._workers[0]):
                self._start_workers()
            if not announced and not self._starting and all(map(self._serves, self._workers.values())):
                announced = True
                ready()
        return 0

    def _restart(self) -> None:
        logger.info("the program has changed: it is restarted")
        self._stop(list(self._workers.values()))
        self._due.clear()
        self._have_served.clear()
        self._starting = True
        self._start(0)

    def _start_workers(self) -> None:
        self._starting = False
        for number in range(1, self._count):
            self._start(number)

    def _open_page_socket(self) -> None:
        if self._count > 1:
            self._folder = tempfile.mkdtemp(prefix="appbuilder-")  # mode 0700
            self._page = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._page.bind(self._page_path)
            self._page.listen(1024)

    @property
    def _page_path(self) -> str:
        return str(Path(self._folder) / "page") if self._folder else ""

    def _start(self, number: int) -> None:
        reading, writing = os.pipe()
        page = self._page.fileno() if self._page is not None and number == 0 else -1
        name = self._names[number]
        place = WorkerSlot(self._listener.fileno(), self._alive, writing, self._page_path, page, name)
        passed = [each for each in (place.listener, place.alive, place.ready, page) if each >= 0]
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*self._command, *place.arguments],
                pass_fds=passed,
                env=dict(self._environ),
                # Ctrl-C in the terminal is for the supervisor: it tells the workers itself.
                start_new_session=True,
            )
        finally:
            os.close(writing)
        os.set_blocking(reading, False)
        self._workers[number] = _Worker(number, process, reading)

    def _serves(self, worker: _Worker) -> bool:
        if not worker.served:
            with contextlib.suppress(BlockingIOError):
                worker.served = bool(os.read(worker.ready, 1))
            if worker.served:
                self._have_served.add(worker.number)
        return worker.served

    def _look(self) -> int:
        """Sees to workers that have ended; the status of one that the program cannot be served by, else 0."""
        for worker in list(self._workers.values()):
            status = worker.process.poll()
            if status is None:
                continue
            self._serves(worker)
            self._forget(worker)
            if worker.number not in self._have_served:
                return status if status > 0 else 1
            pause = self._pause_after(worker)
            pid = worker.process.pid
            logger.error("worker %d ended (%d); it is started again in %g s", pid, status, pause)
            self._due[worker.number] = clock.monotonic() + pause
        for number, due in list(self._due.items()):
            if clock.monotonic() >= due:
                del self._due[number]
                self._start(number)
        return 0

    def _pause_after(self, worker: _Worker) -> float:
        lived = clock.monotonic() - worker.started
        before = self._pauses.get(worker.number, 0.0) if lived < QUICK_DEATH else 0.0
        pause = self._pauses[worker.number] = min(LONGEST_PAUSE, 2 * before or 0.1)
        return pause

    def _forget(self, worker: _Worker) -> None:
        os.close(worker.ready)
        del self._workers[worker.number]
        self._on_death(worker.process.pid)

    def _end(self) -> None:
        try:
            self._stop(list(self._workers.values()))
        finally:
            for worker in self._workers.values():
                worker.process.kill()
            os.close(self._held)
            os.close(self._alive)
            self._listener.close()
            if self._page is not None:
                self._page.close()
                shutil.rmtree(self._folder, ignore_errors=True)

    def _stop(self, workers: Sequence[_Worker]) -> None:
        """Tells workers to end, and waits; asked again (Ctrl-C) it waits no more."""
        for worker in workers:
            worker.process.send_signal(signal.SIGTERM)
        until = clock.monotonic() + self._patience
        for worker in workers:
            try:
                worker.process.wait(max(0.0, until - clock.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                until = 0.0
                worker.process.kill()
                worker.process.wait()
            self._forget(worker)


def check_platform(workers: int) -> None:
    """:raises ConfigurationError: this system has no several workers on one socket."""
    if workers > 1 and os.name != "posix":
        raise ConfigurationError("Several workers need Linux, macOS or the like: use --workers 1.")


def program_changes() -> Callable[[], bool]:
    """Watches the Python files below the current folder; what it returns tells whether some have changed."""
    from watchfiles import PythonFilter, watch

    changed = threading.Event()

    def look() -> None:
        for _ in watch(".", watch_filter=PythonFilter(), raise_interrupt=False):
            changed.set()

    def has_changed() -> bool:
        found = changed.is_set()
        changed.clear()
        return found

    threading.Thread(target=look, name="appbuilder-reload", daemon=True).start()
    return has_changed
