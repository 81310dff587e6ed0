"""Starts the servers that are measured, each in a folder of its own, and stops them again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import chainlit_env, sdk_env

ROOT = Path(__file__).parent.parent
WORK = ROOT / ".bench"
"""On the checkout's own disk, not in /tmp: durable commits on a RAM disk would cost nothing."""

THREADS = 1000
START_TIMEOUT = 60.0
STOP_TIMEOUT = 15.0

GEVENT, GTHREAD, SERVE, SERVE_GEVENT = "gunicorn gevent", "gunicorn gthread", "serve()", "serve(), gevent"
PAGE, CHAINLIT = "chainlit_component()", "chainlit run"


@dataclass(frozen=True, slots=True)
class Contender:
    """A program under a server. ``program`` is the name of a module in bench/apps."""

    label: str
    program: str
    server: str

    @property
    def python(self) -> str:
        """The interpreter of the environment the program needs."""
        return str(sdk_env.PYTHON) if self.program == "sdk" else sys.executable

    def command(self, port: int) -> list[str]:
        """What starts the server; one worker process each."""
        if self.server == CHAINLIT:
            program = ROOT / f"bench/apps/{self.program}.py"
            more = ["--headless", "--host=127.0.0.1", f"--port={port}"]
            return [self.python, "-m", "chainlit", "run", *more, str(program)]
        if self.server in (SERVE, SERVE_GEVENT, PAGE):
            return [self.python, "-m", f"bench.apps.{self.program}"]
        kind, more = "gevent", ["--worker-connections=2000"]
        if self.server == GTHREAD:
            kind, more = "gthread", [f"--threads={THREADS}", "--worker-connections=2000"]
        return [
            *(self.python, "-m", "gunicorn", "--workers=1", "--log-level=warning"),
            *("-k", kind, *more, f"--bind=127.0.0.1:{port}", f"bench.apps.{self.program}:app"),
        ]


PRODUCT = Contender("this product", "product", GEVENT)
PRODUCT_GTHREAD = Contender("this product", "product", GTHREAD)
PRODUCT_SERVE = Contender("this product", "product", SERVE)
PRODUCT_SERVE_GEVENT = Contender("this product", "product", SERVE_GEVENT)
BARE = Contender("bare Flask", "bare", GEVENT)
BARE_GTHREAD = Contender("bare Flask", "bare", GTHREAD)
SDK = Contender("SDK 1.1.5", "sdk", GEVENT)
SDK_GTHREAD = Contender("SDK 1.1.5", "sdk", GTHREAD)
SDK_SERVE = Contender("SDK 1.1.5", "sdk", SERVE)

PRODUCT_PAGE = Contender("this product", "page_product", PAGE)
CHAINLIT_PAGE = Contender("Chainlit alone", "page_chainlit", CHAINLIT)
CHAINLIT_STORED_PAGE = Contender("Chainlit, its own data layer", "page_chainlit_stored", CHAINLIT)

ALL = (
    *(PRODUCT, BARE, SDK),
    *(PRODUCT_GTHREAD, BARE_GTHREAD, SDK_GTHREAD),
    *(PRODUCT_SERVE, PRODUCT_SERVE_GEVENT, SDK_SERVE),
)
PAGES = (PRODUCT_PAGE, CHAINLIT_PAGE, CHAINLIT_STORED_PAGE)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. ``start_seconds`` is the time from its start to its first answer."""

    program: str
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
        "APPBUILDER_TOKEN": "x",  # the SDK refuses to start without one; nothing is sent anywhere
        "TRACELOOP_TELEMETRY": "false",  # nor by Chainlit
        "APPBUILDER_WORKER_CLASS": "gevent" if contender.server == SERVE_GEVENT else "gthread",
    }
    begin = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            contender.command(port), cwd=folder, env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _await_answer(process, port, app, log)
        yield Server(contender.program, process.pid, port, log, time.perf_counter() - begin)
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


def chat_request(body: dict[str, object]) -> bytes:
    """A request to POST /chat on a connection that is kept."""
    data = json.dumps(body, ensure_ascii=False).encode()
    head = (
        "POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def first_request(app: str) -> bytes:
    """A request any contender's *app* answers at once."""
    if app == "page":
        return b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    more: dict[str, object] = {"stream": True, "count": 1, "delay": 0.0} if app == "tokens" else {}
    return chat_request({"message": "hello", "session_id": "start", **more})


def _await_answer(process: subprocess.Popen[bytes], port: int, app: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=START_TIMEOUT) as connection:
                connection.sendall(first_request(app))
                answer = connection.recv(64)
        except OSError:
            time.sleep(0.005)
            continue
        if b" 200 " in answer:
            return
        break
    raise RuntimeError(f"{process.args!r} gave no answer:\n{log.read_text(errors='replace')[-2000:]}")


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
