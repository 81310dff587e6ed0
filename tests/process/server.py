"""Real server processes for the tests: started in a folder of their own, awaited, asked, stopped."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests import starts

START_TIMEOUT = 30.0
"""Seconds a server may take to answer its first request, on a machine that does other things too."""

ALL_SERVE = "is served on"
"""What ``appbuilder serve`` says when all its workers serve."""

JSON_HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def content(self) -> Any:
        """The content of the answer's message."""
        return self.json()["result"]["answer_message"]["content"]


class Server:
    """A server process. As a context manager it is killed at the end, its workers included."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path, log: Path) -> None:
        self.process = process
        self.port = port
        self.folder = folder
        self.kind = ""
        """A name the test gives it."""
        self._log = log

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if kind is not None:
            print(self.log)

    @property
    def log(self) -> str:
        """What the process wrote to standard output and error so far."""
        return self._log.read_text("utf-8", "replace")

    # Its life

    def wait_ready(self, path: str = "/health", timeout: float = START_TIMEOUT) -> None:
        """Returns when GET *path* is answered with 200.

        :raises AssertionError: the process ended, or did not answer in *timeout* seconds.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.request("GET", path, timeout=5).status == 200:
                    return
            time.sleep(0.02)
        raise AssertionError(f"no answer from {path} in {timeout:g} s:\n{self.log}")

    def wait_said(self, words: str, times: int) -> None:
        """Returns when the log holds *words* so many times."""
        deadline = time.monotonic() + START_TIMEOUT
        while self.log.count(words) < times:
            assert self.process.poll() is None, f"the server has ended:\n{self.log}"
            assert time.monotonic() < deadline, f"it does not say {words!r}:\n{self.log}"
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        """Sends a signal to the process itself, not to its workers."""
        self.process.send_signal(number)

    def interrupt(self) -> None:
        """Ctrl-C in a terminal: SIGINT to the process and all its workers."""
        os.killpg(self.process.pid, signal.SIGINT)

    def terminate(self, timeout: float = 30) -> int:
        """SIGTERM; returns the exit status.

        :raises subprocess.TimeoutExpired: it has not ended after *timeout* seconds.
        """
        self.process.terminate()
        return self.wait(timeout)

    def wait(self, timeout: float = 30) -> int:
        """Waits for the end; returns the exit status."""
        return self.process.wait(timeout)

    def kill(self) -> None:
        """kill -9 for the process and its workers, in whatever process group they are."""
        workers = children(self.process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)

    # Asking it

    def connect(self, timeout: float = 30) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def open(self, timeout: float = 30) -> http.client.HTTPConnection:
        """An HTTP connection that several requests may use."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        timeout: float = 30,
    ) -> Reply:
        """One request on a connection of its own."""
        with contextlib.closing(self.open(timeout)) as connection:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())

    def chat(
        self,
        message: Any,
        *,
        path: str = "/chat",
        headers: Mapping[str, str] = {},
        timeout: float = 30,
        **members: Any,
    ) -> Reply:
        """POST /chat for a whole answer; *members* are ``session_id`` and the component's arguments."""
        body = json.dumps({"message": message, **members}).encode()
        return self.request("POST", path, body, {**JSON_HEADERS, **headers}, timeout)

    @contextlib.contextmanager
    def stream(
        self,
        message: Any,
        *,
        path: str = "/chat",
        headers: Mapping[str, str] = {},
        timeout: float = 30,
        **members: Any,
    ) -> Iterator[Events]:
        """POST /chat for a stream; leaving the block early leaves the stream."""
        body = json.dumps({"message": message, "stream": True, **members}).encode()
        with contextlib.closing(self.open(timeout)) as connection:
            connection.request("POST", path, body, {**JSON_HEADERS, **headers})
            answer = connection.getresponse()
            with contextlib.closing(answer):  # else it keeps the connection open
                yield Events(answer, connection)


class Events(Iterator[Any]):
    """The events of a stream, each as the JSON value of its ``data:``; comments are left out."""

    def __init__(self, answer: http.client.HTTPResponse, connection: http.client.HTTPConnection) -> None:
        self.answer = answer
        self.status = answer.status
        self._connection = connection

    def __next__(self) -> Any:
        while line := self.answer.readline():
            if line.startswith(b"data:"):
                return json.loads(line[5:])
        raise StopIteration

    @property
    def texts(self) -> list[str]:
        """The pieces of all events that are left."""
        return [event["result"]["answer_message"]["content"] for event in self if event["result"]]

    def reset(self) -> None:
        """Leaves with RST instead of FIN."""
        raw = self._connection.sock or self.answer.fp.raw._sock  # type: ignore[attr-defined]
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.answer.close()
        self._connection.close()


def children(pid: int) -> list[int]:
    """Process ids of the processes that *pid* has started; none where it has ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(**more: str) -> dict[str, str]:
    """This process's environment without the product's own settings, and *more*."""
    ours = ("APPBUILDER_", "GATEWAY_URL", "OPENAI_", "GUNICORN_", "WERKZEUG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


def start(
    folder: Path,
    command: Sequence[str],
    *,
    port: int,
    env: Mapping[str, str] = {},
    ready: str | None = "/health",
) -> Server:
    """Starts *command* in *folder* and waits until it answers GET *ready* (None: does not wait).

    ``appbuilder serve`` with several workers answers when the first serves; waited for is the last.
    """
    log = folder / "server.log"
    with log.open("ab") as output:
        said_before = log.read_text("utf-8", "replace").count(ALL_SERVE)
        starts.note()
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=environment(PORT=str(port), **env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(process, port, folder, log)
    if ready is not None:
        try:
            server.wait_ready(ready)
            if "serve" in command and "--workers" in command:
                server.wait_said(ALL_SERVE, said_before + 1)
        except BaseException:
            server.kill()
            raise
    return server


def start_program(
    folder: Path,
    source: str,
    *,
    env: Mapping[str, str] = {},
    port: int | None = None,
    ready: str | None = "/health",
) -> Server:
    """Runs *source* as a script; it serves on the port in its environment variable PORT."""
    (folder / "program.py").write_text(source, "utf-8")
    return start(
        folder, [sys.executable, "program.py"], port=port or free_port(), env=env, ready=ready
    )


def start_gunicorn(
    folder: Path, source: str, *options: str, env: Mapping[str, str] = {}, ready: str | None = "/health"
) -> Server:
    """Runs the ``app`` of *source* under gunicorn's own command line, with *options*."""
    (folder / "program.py").write_text(source, "utf-8")
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--no-control-socket"]
    return start(folder, [*command, *options, "program:app"], port=port, env=env, ready=ready)
