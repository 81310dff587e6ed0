"""Starts the servers that are measured, each in a folder of its own, and stops them again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import chainlit_env, protocols
from bench.contenders import Contender
from bench.protocols import Protocol
from bench.venvs import ROOT, WORK

START_TIMEOUT = 60.0
STOP_TIMEOUT = 15.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. ``start_seconds`` is the time from its start to its first answer."""

    program: str
    protocol: Protocol
    pid: int
    port: int
    log: Path
    start_seconds: float


@contextlib.contextmanager
def running(contender: Contender, app: str) -> Iterator[Server]:
    """Runs *contender* with its program for *app* on an empty database.

    :param app: ``echo``, ``tokens``, ``history`` or ``page``.
    :raises RuntimeError: it gave no answer in time; the text holds the end of its log.
    """
    WORK.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=WORK))
    log = folder / "server.log"
    port = _free_port()
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{chainlit_env.FOLDER}",
        "BENCH_APP": app,
        "BENCH_PORT": str(port),
        **contender.environment(),
    }
    begin = time.perf_counter()
    command = contender.command(port, app)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _await_answer(process, port, _first_request(contender, app), log)
        taken = time.perf_counter() - begin
        yield Server(contender.program, contender.protocol, process.pid, port, log, taken)
    finally:
        _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found.extend(map(int, task.read_text().split()))
    return found


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its descendants, threads that have ended included."""
    ticks = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            # proc(5): the name may hold spaces; utime and stime are the 14th and 15th field.
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _first_request(contender: Contender, app: str) -> bytes:
    """A request any contender's *app* answers at once."""
    if app == "page":
        return protocols.get("/")
    if app == "tokens":
        return protocols.stream_request("start", 1, 0.0)
    return contender.protocol.ask("start", "hello")


def _await_answer(process: subprocess.Popen[bytes], port: int, request: bytes, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=START_TIMEOUT) as connection:
                connection.sendall(request)
                answer = connection.recv(64)
        except OSError:
            time.sleep(0.005)
            continue
        if b" 200 " in answer:
            if _all_serve(process, log):
                return
            time.sleep(0.05)
            continue
        break
    raise RuntimeError(f"{process.args!r} gave no answer:\n{log.read_text(errors='replace')[-2000:]}")


def _all_serve(process: subprocess.Popen[bytes], log: Path) -> bool:
    """`appbuilder serve` answers when its first worker serves, and says so when all do."""
    several = "APPBUILDER_WORKERS" in Path(f"/proc/{process.pid}/environ").read_text()
    return not several or "is served on" in log.read_text(errors="replace")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and its children: they are a session of their own."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
