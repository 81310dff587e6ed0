"""``appbuilder doctor``: what it proves of a service, and what it finds wrong."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.process.server import Server, start
from tests.process.serving import ROOT, free_port, rows, settings
from tests.process.terminal import PROGRAM

from appbuilder.testing import OpenAIDouble

APP = str(ROOT / "tests/process/apps/fixed_answer.py")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("service"), free_port()
    command = [*PROGRAM, "serve", f"{APP}:paced", "--port", str(port), "--workers", "2", "--no-page"]
    env = {**settings(folder), "APPBUILDER_DATABASE": f"sqlite:///{folder}/said.db"}
    with start(folder, command, port=port, env=env) as server:
        yield server


@dataclass
class Found:
    """How doctor ended, and its checks by name."""

    status: int
    checks: Mapping[str, tuple[bool | None, str]]
    well: bool


def doctor(folder: Path, *arguments: str, **environ: str) -> Found:
    ended = subprocess.run(
        [*PROGRAM, "doctor", "--json", *arguments], capture_output=True, text=True, cwd=folder, timeout=90,
        env={**os.environ, **environ}, check=False,
    )
    told: Any = json.loads(ended.stdout) if ended.stdout else pytest.fail(ended.stderr)
    checks = {each["name"]: (each["ok"], each["text"]) for each in told["checks"]}
    return Found(ended.returncode, checks, told["ok"])


def test_a_service_that_is_well(service: Server, tmp_path: Path) -> None:
    found = doctor(tmp_path, f"http://127.0.0.1:{service.port}")
    assert (found.status, found.well) == (0, True), found
    assert list(found.checks) == [
        "service", "clock", "database", "turn", "stream", "one turn at a time", "cleaned up",
    ]
    assert all(ok is True for ok, _ in found.checks.values())
    assert "12 chunks in " in found.checks["stream"][1]
    asked_at_once = "4 concurrent turns of one session ran one by one in "
    assert found.checks["one turn at a time"][1].startswith(asked_at_once)
    # How many is the kernel's to say, which gives a connection to whom it likes.
    assert found.checks["one turn at a time"][1].endswith(("one worker.", "2 workers."))
    # Nothing is left that anybody would see.
    left = rows(f"sqlite:///{service.folder}/said.db", "deleted = 0")
    assert left == []


class BufferingProxy:
    """Passes a request on, and the answer only when all of it is there."""

    def __init__(self, port: int) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", port)) as service:
                    threading.Thread(target=forward, args=(self.request, service), daemon=True).start()
                    whole = b"".join(iter(lambda: service.recv(65536), b""))
                with contextlib.suppress(OSError):
                    self.request.sendall(whole)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> BufferingProxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def forward(client: socket.socket, service: socket.socket) -> None:
    """One request: its head says that there is no other on this connection."""
    with contextlib.suppress(OSError):
        data = client.recv(65536)
        head, end, body = data.partition(b"\r\n\r\n")
        service.sendall(head.replace(b"Connection: keep-alive", b"Connection: close") + end + body)
        while more := client.recv(65536):
            service.sendall(more)


def test_a_proxy_that_buffers_is_found(service: Server, tmp_path: Path) -> None:
    with BufferingProxy(service.port) as proxy:
        found = doctor(tmp_path, proxy.address)
    assert (found.status, found.well) == (1, False)
    ok, text = found.checks["stream"]
    assert ok is False, text
    assert text.startswith("A proxy buffers the stream: 12 chunks in 1 arrivals")
    assert found.checks["cleaned up"] == (True, "The 3 sessions of this test were deleted.")


def test_a_service_that_is_not_there(tmp_path: Path) -> None:
    found = doctor(tmp_path, "http://127.0.0.1:9")
    assert found.status == 1
    assert found.checks["service"][0] is False
    assert "cannot be reached" in found.checks["service"][1]


def test_a_component_its_model_and_its_database(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from appbuilder import Component, Playground\n"
        "class Agent(Component):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.model = Playground(model='openai/double')\n"
        "    def run(self, message, stream=False): return self.model.run(message, stream=stream)\n"
    )
    with OpenAIDouble(keys=["right"]) as double:
        env = {"OPENAI_BASE_URL": double.base_url, "OPENAI_API_KEY": "right"}
        found = doctor(tmp_path, "app.py", **env)
        refused = doctor(tmp_path, "app.py", **{**env, "OPENAI_API_KEY": "wrong"})
    nobody = doctor(tmp_path, "app.py", APPBUILDER_MODEL_RETRIES="0", **env)
    assert found.status == 0, found
    assert found.checks["component"] == (True, "app.py can be served, as Agent.")
    assert found.checks["model"][0] is True
    assert found.checks["model"][1].startswith("openai/double answers in ")
    assert found.checks["database"] == (None, "not there yet. The file is made at the first start.")
    assert not (tmp_path / "user_session.db").exists()
    assert refused.status == 1
    assert refused.checks["model"][0] is False
    where = urlsplit(env["OPENAI_BASE_URL"]).netloc
    assert nobody.checks["model"][1].endswith(f"The call went to {where}; see OPENAI_BASE_URL.")


def test_a_database_its_durability_and_its_threads(service: Server, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def answer(message): return message")
    found = doctor(tmp_path, "app.py", "--database", f"sqlite:///{service.folder}/said.db", "--db-pool", "2")
    assert found.status == 0, found
    assert found.checks["journal_mode"] == (True, "wal.")
    assert found.checks["synchronous"] == (True, "full.")
    assert found.checks["tables of the service"][0] is True
    assert found.checks["threads and connections"][0] is True
    assert found.checks["threads and connections"][1].startswith("8 threads at once on 2 connections")


def test_what_is_set_up_wrongly_is_found_and_the_rest_is_still_told(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def answer(message): return message")
    found = doctor(tmp_path, "app.py", "--host", "0.0.0.0", "--database", "sqlite:////nowhere/at/all.db")
    assert found.status == 1
    assert found.checks["component"][0] is True
    assert "others can reach the service" in found.checks["exposure"][1]
    assert found.checks["model"][0] is None
    assert "/nowhere/at" in found.checks["database"][1]
    assert doctor(tmp_path, "missing.py").checks["component"][0] is False
