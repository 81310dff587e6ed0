"""A user without HOME and without an entry in passwd, as in containers that run under any number."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.process.server import Server
from tests.process.serving import ROOT, free_port
from tests.services.servers import program

USER = "54321"
APP = """
from appbuilder import Component, Playground

def answer(message: str) -> str:
    return message

class Local(Component):
    def __init__(self):
        super().__init__()
        self.playground = Playground(prompt_template="{query}", model="local")

    def run(self, message, stream=False):
        return self.playground.run(message, stream)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """The user's own; not in pytest's, which only root may enter."""
    made = Path(tempfile.mkdtemp(prefix="appbuilder-homeless-"))
    (made / "app.py").write_text(APP)
    if os.getuid() == 0:
        os.chown(made, int(USER), int(USER))
    yield made
    shutil.rmtree(made)


def command(*arguments: str) -> list[str]:
    """``appbuilder`` as that user. Where the tests are not run by root, only HOME is missing."""
    who = []
    if os.getuid() == 0:
        # The folders of the tests and of this Python may be root's alone.
        who = [program("setpriv"), "--reuid", USER, "--regid", USER, "--clear-groups",
               "--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
    path = f"{ROOT}:{ROOT}/src"
    return [*who, "env", "-i", f"PATH={os.environ['PATH']}", f"PYTHONPATH={path}", "PYTHONUNBUFFERED=1",
            sys.executable, "-c", "from appbuilder.cli.main import main; main()", *arguments]


def said(folder: Path, *arguments: str, **more: str) -> str:
    """What a verb says."""
    done = subprocess.run(
        [*command(*arguments)], cwd=folder, input=more.get("input", ""), capture_output=True, text=True,
        timeout=120, check=False,
    )
    text = done.stdout + done.stderr
    assert "Traceback" not in done.stdout, text
    return text


def test_verbs(folder: Path) -> None:
    assert "Wrote" in said(folder, "init", "hello")
    assert "Key x" in said(folder, "keys", "add", "x")
    assert "session" in said(folder, "sessions", "list")
    assert "hi" in said(folder, "chat", "app.py:answer", input="hi\n")
    if os.getuid() == 0:
        found = said(folder, "doctor", "app.py:Local")
        assert "this user has no home folder. Set HOME, or APPBUILDER_CACHE_DIR" in " ".join(found.split())


def test_the_service_with_its_page(folder: Path) -> None:
    port = free_port()
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command("serve", "app.py:answer", "--port", str(port)), cwd=folder, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )
    with Server(process, port, folder, log) as server:
        server.wait_ready("/ready")
        assert server.request("GET", "/").status == 200
        server.terminate()
        assert "Traceback" not in log.read_text()
