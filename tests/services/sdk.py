"""The released AppBuilder SDK, in a virtual environment of its own that is kept between runs."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-sdk"
PACKAGES = ("appbuilder-sdk==1.1.5", "sqlalchemy", "flask-restful")


@pytest.fixture(scope="session")
def sdk_python() -> Path:
    """A Python that imports the SDK as ``appbuilder``."""
    python = VENV / "bin" / "python"
    ready = VENV / ".ready"
    with (ROOT / ".venv-sdk.lock").open("w") as lock:
        # Two test runs at once must not fill one folder together.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists() or ready.read_text() != " ".join(PACKAGES):
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES], check=True)
            ready.write_text(" ".join(PACKAGES))
    return python
