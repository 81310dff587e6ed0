"""What `make demo` runs, where something is wrong: one sentence, no traceback."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

from tests.process.server import environment
from tests.process.serving import ROOT

API_PORT = 8091


def demo(folder: Path, base_url: str) -> subprocess.CompletedProcess[str]:
    env = environment(APPBUILDER_MODEL="openai/x", OPENAI_BASE_URL=base_url, OPENAI_API_KEY="k",
                      APPBUILDER_CACHE_DIR=str(folder / "cache"), APPBUILDER_MODEL_RETRIES="0")
    return subprocess.run([sys.executable, str(ROOT / "examples/demo.py")], cwd=folder, env=env,
                          capture_output=True, text=True, check=False, timeout=60)


def test_a_model_that_cannot_be_reached_is_one_sentence(tmp_path: Path) -> None:
    ended = demo(tmp_path, "http://127.0.0.1:9/v1")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("The model server")


def test_a_port_that_is_in_use_ends_the_demo(tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # another program has it: as well
            held.enter_context(socket.create_server(("127.0.0.1", API_PORT)))
        ended = demo(tmp_path, "http://127.0.0.1:9/v1")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f"Port {API_PORT} is in use by another program")
