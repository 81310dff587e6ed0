"""The wheel as users install it: plain pip, no constraints, new environments. Needs the package index.

Not among the rings of ``make test``; ``make install-check`` runs it, and so does CI.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.process.server import Server, start
from tests.process.serving import ROOT, free_port

pytestmark = pytest.mark.timeout(900)

PIPS = ("23.0.1", "25.1.1")
"""Those of Debian 12 and Debian 13."""
MOST_IN_VAIN = 3
"""Candidates that pip may look at besides those it takes; without the pins it is hundreds."""
_TRIED = re.compile(r"^\s+(?:Downloading|Using cached) (\S+?)-\d", re.MULTILINE)


def pip(python: Path, *arguments: str) -> str:
    """What pip writes; a machine's own constraints are left out."""
    command = [str(python), "-m", "pip", *arguments]
    env = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    return ended.stdout


def environment(folder: Path) -> Path:
    """The interpreter of a new environment."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip(environment(folder / "venv"), "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT))
    return next(folder.glob("*.whl"))


def wanted(wheel: Path, extra: str) -> str:
    return f"appbuilder-runtime[{extra}] @ {wheel.as_uri()}"


@pytest.mark.parametrize("version", PIPS)
@pytest.mark.parametrize(("extra", "most"), [("api", 60), ("serve", 160), ("all", 170)])
def test_pip_takes_what_it_looks_at(version: str, extra: str, most: int, wheel: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "venv")
    pip(python, "install", "-q", f"pip=={version}")
    report = tmp_path / "report.json"
    said = pip(python, "install", "--progress-bar", "off", "--dry-run", "--report", str(report),
               wanted(wheel, extra))
    taken = len(json.loads(report.read_text())["install"])
    tried = Counter(_TRIED.findall(said))
    in_vain = {name: count for name, count in tried.items() if count > 1}
    print(f"pip {version}, [{extra}]: {taken} packages, {tried.total()} candidates, again: {in_vain}")
    assert taken <= most
    assert tried.total() <= taken + MOST_IN_VAIN, in_vain


def served(extra: str, wheel: Path, folder: Path) -> Server:
    """A first project, served by what the extra installs."""
    python, port = environment(folder / "venv"), free_port()
    pip(python, "install", "-q", wanted(wheel, extra))
    program, project = str(python.with_name("appbuilder")), folder / "hello"
    env = {"PYTHONPATH": "", "APPBUILDER_CACHE_DIR": str(folder / "cache")}
    subprocess.run([program, "init", str(project)], check=True, env={**os.environ, **env})
    return start(project, [program, "serve", "app.py:answer", "--port", str(port)], port=port, env=env)


def test_the_service_without_the_page(wheel: Path, tmp_path: Path) -> None:
    with served("api", wheel, tmp_path) as server:
        server.wait_ready()
        assert server.log.count("Serving without the chat page. ") == 1
        assert server.chat("hello").status == 200
        assert server.request("GET", "/docs").status == 200
        assert server.request("GET", "/admin").status == 200
        assert server.request("GET", "/v1/models").status == 200
        assert server.request("GET", "/").status == 404
    program = str(tmp_path / "venv" / "bin" / "appbuilder")
    refused = subprocess.run(
        [program, "serve", "app.py:answer", "--page"], cwd=server.folder, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": ""},
    )
    assert refused.returncode == 2
    assert refused.stderr.endswith("pip install 'appbuilder-runtime[serve]'\n")


def test_the_service_with_the_page(wheel: Path, tmp_path: Path) -> None:
    with served("serve", wheel, tmp_path) as server:
        server.wait_ready()
        assert "  page  http://127.0.0.1:" in server.log
        page = server.request("GET", "/")
        assert page.status == 200
        assert b'<div id="root">' in page.body
        assert server.chat("hello").status == 200
