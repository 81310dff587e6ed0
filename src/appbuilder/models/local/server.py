"""The process that holds a local model: ``python -m appbuilder.models.local.server <order>``.

A process of its own because the engine keeps Python's interpreter lock while it loads (measured with
xllamacpp 2026.10: 0.9 to 1.7 s in which no other thread, greenlet or heartbeat of the service would run,
much longer for larger files), because an engine that aborts must not take the service with it, and because
a worker that ends must not take the model from the others.

Each user holds a connection, a lease; when the last one is gone the process ends. Whoever dies, however,
the kernel closes his connection.
"""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from appbuilder.errors import AppBuilderError, ConfigurationError
from appbuilder.models.local import shared_state
from appbuilder.models.local.file_lock import FileLock
from appbuilder.models.local.shared_state import Order, State
from appbuilder.models.local.weights import TABLE, ensure

OWNED = 3
"""Exit status of a process that found another one at work."""

LINGER = 3.0
"""Seconds the model waits for a new user after the last one left: a restart need not load it again."""

_FIRST_LEASE = 10.0
"""Seconds it waits for the one who started it."""

_MOST_FILES = 1 << 16

_HTTP_THREADS = 16
"""Connections served besides those that hold a slot; one that waits for a slot needs a thread too."""

_PROMPT_CACHE_MIB = 256
"""Memory for prompts that were computed before; one of 400 tokens takes 5 MiB with the default model."""


def main(arguments: list[str]) -> int:
    """Takes the owner's lock, leaves its parent, serves until it is not needed."""
    # What the service has open (its listener above all) must not stay open here.
    os.closerange(3, _MOST_FILES)
    order = Order.from_json(arguments[0])
    os.chdir(order.folder)
    lock = order.owner_lock()
    if not _acquire(lock):
        return OWNED
    if hasattr(os, "fork") and os.fork():
        # The one who started us waits for this exit, which says that the lock is taken.
        os._exit(0)
    if hasattr(os, "setsid"):
        os.setsid()
    _Process(order).run()
    return 0


def _acquire(lock: FileLock) -> bool:
    # The one who holds it may be on its way out, or a user who looks whether it is free.
    deadline = time.monotonic() + 2.0
    while not lock.acquire():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class _Process:
    """Fetches, loads, serves; tells its users how far it is through the state file."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._leases = Leases(secrets.token_urlsafe(32))
        self._state = State(os.getpid(), self._leases.port, self._leases.secret)
        self._written = 0.0

    def run(self) -> None:
        self._set_signals()
        self._tell()
        thread = threading.Thread(target=self._leave_when_unused, daemon=True)
        thread.start()
        engine = self._start()
        thread.join()
        del engine

    def _start(self) -> Any:
        """The running engine, or None when it failed; the state says why."""
        try:
            path = self._find_weights()
            self._tell(phase=shared_state.LOADING, what=f"Loading {self._order.model}", done=0, total=0)
            engine = _load(path, self._order, self._leases.secret)
        except AppBuilderError as error:
            self._fail(str(error), isinstance(error, ConfigurationError))
        except ImportError as error:
            self._fail(_cannot_import(error), True)
        except Exception as error:  # noqa: BLE001 - the engine raises what it likes; its users get the error
            words = self._order.last_words()
            self._fail(f"The engine could not load {self._order.model}: {error} {words}", False)
        else:
            self._tell(phase=shared_state.READY, address=engine.listening_address)
            return engine
        return None

    def _find_weights(self) -> str:
        if self._order.model not in TABLE:
            return self._order.model
        weights = TABLE[self._order.model]
        return str(ensure(weights, Path(self._order.cache), self._report, self._order.connect_timeout))

    def _report(self, what: str, done: int, total: int) -> None:
        if what != self._state.what or time.monotonic() - self._written > 0.1:
            self._tell(what=what, done=done, total=total)

    def _fail(self, text: str, is_configuration: bool) -> None:
        self._leases.linger = 0.0
        self._tell(phase=shared_state.FAILED, error=text, is_configuration=is_configuration)

    def _tell(self, **changes: Any) -> None:
        self._state = replace(self._state, **changes)
        self._state.write(self._order.state_path)
        self._written = time.monotonic()

    def _leave_when_unused(self) -> None:
        self._leases.serve()
        self._order.state_path.unlink(missing_ok=True)
        if hasattr(os, "killpg"):
            # With everything it started (pip), and without the engine's own clean-up, which waits for it.
            os.killpg(os.getpgid(0), signal.SIGKILL)
        os._exit(0)

    def _set_signals(self) -> None:
        """A service manager stops the whole group at once; the turns still running need the model."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_terminate)

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        if self._leases.linger == 0.0:
            os._exit(128 + number)
        self._leases.linger = 0.0


class Leases:
    """The connections of those who need the model."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.linger = LINGER
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._held: set[socket.socket] = set()
        self._unused_since = time.monotonic() + _FIRST_LEASE - LINGER

    def serve(self) -> None:
        """Returns when no one has held a lease for ``linger`` seconds."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while self._held or time.monotonic() - self._unused_since < self.linger:
                for key, _ in selector.select(timeout=0.2):
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    elif isinstance(key.fileobj, socket.socket):
                        self._read(key.fileobj, selector)
        self._listener.close()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it was gone again before we came
            return
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)
        self._held.add(connection)

    def _read(self, connection: socket.socket, selector: selectors.BaseSelector) -> None:
        """Answers the one line a user sends; anything after it is the end."""
        try:
            line = connection.recv(256)
            if line:
                proof = State(0, 0, self.secret).prove(line.decode("ascii", "replace").strip())
                connection.sendall(proof.encode())
                return
        except OSError:
            pass
        selector.unregister(connection)
        connection.close()
        self._held.discard(connection)
        self._unused_since = time.monotonic()


def _cannot_import(error: ImportError) -> str:
    # The engine's Linux wheels use the system's libgomp, which slim images leave out.
    hint = " On Debian and Ubuntu: apt-get install libgomp1." if "libgomp" in str(error) else ""
    return f"The engine xllamacpp cannot be imported ({error}).{hint}"


def _load(path: str, order: Order, secret: str) -> Any:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_parallel = order.slots
    parameters.n_ctx = order.slots * order.context
    parameters.cache_ram_mib = _PROMPT_CACHE_MIB
    parameters.fit_params = False
    parameters.warmup = False
    parameters.cpuparams.n_threads = order.threads
    parameters.cpuparams_batch.n_threads = order.prompt_threads
    parameters.n_threads_http = order.slots + _HTTP_THREADS
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [secret]
    parameters.ui = False
    parameters.verbosity = 1  # errors; from 4 on prompts would stand in the log
    return xllamacpp.Server(parameters)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
