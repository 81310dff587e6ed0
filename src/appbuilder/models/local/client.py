"""A user's side of the model's process: finds it, or starts it, and holds a lease on it.

Nothing here blocks an event loop: locks and sockets are asked, never waited for, and the pause between two
questions is ``time.sleep``, which gevent replaces.
"""

from __future__ import annotations

import atexit
import os
import secrets
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from appbuilder.core.context import current_context
from appbuilder.errors import ConfigurationError, ModelTimeout, ModelUnavailable
from appbuilder.logs import logger
from appbuilder.models.local import shared_state
from appbuilder.models.local.mirrors import python_executable
from appbuilder.models.local.progress import Progress
from appbuilder.models.local.server import OWNED
from appbuilder.models.local.shared_state import Order, State

_PAUSE = 0.02
_STARTS = 2
"""Times one call starts the process, should it die while it loads."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the model's HTTP API is (``http://127.0.0.1:<port>``) and its key."""

    url: str
    key: str


def connect(order: Order, silence: float) -> Address:
    """The address of the running model; starts it if it does not run.

    :param silence: seconds without progress after which the start counts as hung.
    :raises ModelTimeout: it hung.
    :raises ModelUnavailable: the weights cannot be had, or the engine failed.
    :raises ConfigurationError: a setting is wrong.
    :raises TurnCancelled: the current turn was stopped; the model's process goes on without it.
    """
    lease = _leases.get((os.getpid(), order.key))
    if lease is not None and lease.address is not None and lease.alive():
        return lease.address
    return _Search(order, silence).run()


def close_leases() -> None:
    """Gives back what this process holds; a model no one holds ends a few seconds later."""
    while _leases:
        _leases.popitem()[1].close()


class _Lease:
    """A connection to the model's process, as good as a sign of life from it."""

    def __init__(self, state: State, connection: socket.socket) -> None:
        self.address: Address | None = None
        self.pid = state.pid
        self._connection = connection

    @classmethod
    def open(cls, state: State, silence: float) -> _Lease | None:
        """None when there is no such process any more."""
        # The unpatched class: a gevent socket belongs to the thread that made it, a lease to all.
        connection = _unpatched("socket", "socket")(socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.settimeout(1.0)
            connection.connect(("127.0.0.1", state.lease_port))
            connection.setblocking(False)
            nonce = secrets.token_hex(16)
            connection.sendall(nonce.encode() + b"\n")
            if _answer(connection, silence) == state.prove(nonce):
                return cls(state, connection)
        except OSError:
            pass
        except BaseException:
            connection.close()
            raise
        connection.close()
        return None

    def alive(self) -> bool:
        try:
            return bool(self._connection.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        self._connection.close()


_leases: dict[tuple[int, str], _Lease] = {}
"""By process id too: a lease made before a fork belongs to the parent."""

atexit.register(close_leases)


class _Search:
    """One caller's way to a running model."""

    def __init__(self, order: Order, silence: float) -> None:
        self._order = order
        self._silence = silence
        self._starts = 0
        self._deadline = time.monotonic() + silence
        self._seen: State | None = None
        self._progress = Progress()

    def run(self) -> Address:
        try:
            while True:
                state = State.read(self._order.state_path)
                lease = _Lease.open(state, self._silence) if state else None
                if lease is None:
                    self._start_unless_running()
                elif address := self._wait_until_ready(lease):
                    return address
                self._pause()
        finally:
            self._progress.close()

    def _wait_until_ready(self, lease: _Lease) -> Address | None:
        """None when the process died meanwhile."""
        try:
            while True:
                state = State.read(self._order.state_path)
                if state and state.pid == lease.pid:
                    if state.phase == shared_state.READY:
                        return _keep(self._order, lease, Address(state.address, state.secret))
                    self._look_at(state)
                if not lease.alive():
                    return None
                self._pause()
        finally:
            if lease.address is None:
                lease.close()

    def _look_at(self, state: State) -> None:
        if state.phase == shared_state.FAILED:
            raise (ConfigurationError if state.is_configuration else ModelUnavailable)(state.error)
        if state != self._seen:
            self._seen = state
            self._deadline = time.monotonic() + self._silence
            if self._starts:  # of many who wait, the one who started it talks
                self._progress.show(state.what, state.done, state.total)

    def _start_unless_running(self) -> None:
        lock = self._order.start_lock()
        if not lock.acquire():
            return
        try:
            owner = self._order.owner_lock()
            if not owner.acquire():
                return  # it has just been started and writes its state in a moment
            self._order.state_path.unlink(missing_ok=True)
            owner.release()
            self._start()
        finally:
            lock.release()

    def _start(self) -> None:
        if self._starts == _STARTS:
            words = self._order.last_words()
            raise ModelUnavailable(f"The local model's process died while it loaded. {words}")
        self._starts += 1
        status = _launch(self._order)
        if status not in (0, OWNED):
            words = self._order.last_words()
            raise ModelUnavailable(f"The local model's process did not start (status {status}). {words}")

    def _pause(self) -> None:
        if time.monotonic() > self._deadline:
            raise ModelTimeout(f"The local model made no progress for {self._silence:g} s.")
        context = current_context()
        if context:
            context.cancel_token.raise_if_cancelled()
        time.sleep(_PAUSE)


def _keep(order: Order, lease: _Lease, address: Address) -> Address:
    key = (os.getpid(), order.key)
    held = _leases.get(key)
    if held is not None and held.alive() and held.address is not None:
        return held.address  # another thread was first; the caller closes ours
    lease.address = address
    _leases[key] = lease
    if held is not None:
        held.close()
    logger.info("The local model answers (process %d).", lease.pid)
    return address


def _launch(order: Order) -> int:
    """Starts the model's process; returns when it has taken the owner's lock and gone its own way.

    :returns: 0, or the exit status of a process that did not come so far.
    """
    command = [python_executable(), "-P", "-m", "appbuilder.models.local.server", order.to_json()]
    # The process must find the same packages, however this one finds them.
    paths = [os.path.abspath(path) for path in sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    # The engine's threads wait for each other by spinning, which takes the core from the one they wait for
    # (2 cores with one busy: 1.8 tokens/s; with this 14).
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    if not hasattr(os, "posix_spawn"):
        with order.log_path.open("wb") as log:
            _detached.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))  # noqa: S603
        return 0
    # Not through subprocess: gevent's needs the main thread's loop, and takes the original's means away.
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(order.log_path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return _wait(os.posix_spawn(command[0], command, environment, file_actions=actions))


_detached: list[subprocess.Popen[bytes]] = []
"""Where there is no fork, the process stays our child; it ends by itself."""


def _wait(pid: int) -> int:
    wait_for = _unpatched("os", "waitpid")
    try:
        while True:
            found, status = wait_for(pid, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(_PAUSE)
    except ChildProcessError:  # the program collects all its children itself, gevent's loop for one
        return 0


def _answer(connection: socket.socket, silence: float) -> str:
    """The 64 characters of a proof. While the engine loads, its process answers no one."""
    deadline = time.monotonic() + silence
    received = b""
    while len(received) < 64 and time.monotonic() < deadline:
        try:
            piece = connection.recv(64)
        except BlockingIOError:
            time.sleep(0.005)
            continue
        if not piece:
            break
        received += piece
    return received.decode("ascii", "replace")


def _unpatched(module: str, name: str) -> Any:
    """The standard library's own *name*, also where gevent has put another in its place."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey.get_original(module, name) if monkey else getattr(sys.modules[module], name)
