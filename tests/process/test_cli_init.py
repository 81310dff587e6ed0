"""The project that ``appbuilder init`` writes: its own test passes, and it is served."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.process.server import Server, start
from tests.process.serving import eventually, free_port
from tests.process.terminal import PROGRAM


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("APPBUILDER_")}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, timeout=90, env=env, check=False
    )


def test_the_written_project_passes_its_test_and_is_served(tmp_path: Path) -> None:
    folder, port = tmp_path / "my-agent", free_port()
    assert run(tmp_path, *PROGRAM, "init", "my-agent").returncode == 0
    tested = run(folder, sys.executable, "-m", "unittest", "-v")
    assert tested.returncode == 0, tested.stderr
    assert "Ran 2 tests" in tested.stderr
    command = [*PROGRAM, "serve", "app.py:answer", "--reload", "--no-page", "--port", str(port)]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with start(folder, command, port=port, env={"TMPDIR": str(temporary)}) as server:
        assert server.chat("hello").content == "You said: hello"
        eventually(lambda: f"app.py:answer is served on http://127.0.0.1:{port}" in server.log)
        source = (folder / "app.py").read_text()
        (folder / "app.py").write_text(source.replace("You said", "So you said"))
        eventually(lambda: answered(server) == "So you said: hello", timeout=60)
        assert any(temporary.iterdir())
        assert server.terminate() == -signal.SIGTERM
    assert list(temporary.iterdir()) == []
    assert (folder / "user_session.db").exists()


def answered(server: Server) -> str | None:
    """What is answered now; None: nothing, between two workers."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        answer = server.chat("hello")
        return str(answer.content) if answer.status == 200 else None
    return None
