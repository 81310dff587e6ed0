"""The environments of the programs that are compared: each made once, with the same server versions."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
WORK = ROOT / ".bench"
"""On the checkout's own disk, not in /tmp: durable commits on a RAM disk would cost nothing."""

PIP_TIMEOUT = 900.0
"""Seconds; the largest of them has a hundred packages."""


@dataclass(frozen=True, slots=True)
class Venv:
    """A virtual environment in ``.bench``. ``same``: packages it gets in the version this environment has."""

    name: str
    packages: tuple[str, ...]
    same: tuple[str, ...]

    @property
    def python(self) -> Path:
        return WORK / self.name / "bin" / "python"

    def ensure(self) -> None:
        """Makes the environment where it is missing or of other versions.

        :raises subprocess.SubprocessError: pip could not install it; its own words say why.
        """
        wanted = [*self.packages, *(f"{name}=={version(name)}" for name in self.same)]
        folder = WORK / self.name
        stamp = folder / ".ready"
        if stamp.exists() and stamp.read_text() == "\n".join(wanted):
            return
        print(f"making the environment of {self.packages[0]} in .bench/{self.name}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(self.python), "-m", "pip", "install", "-q", *wanted]
        subprocess.run(pip, check=True, timeout=PIP_TIMEOUT)
        stamp.write_text("\n".join(wanted))


_UVICORN = ("uvicorn", "uvloop", "httptools", "starlette", "pydantic")

SDK = Venv(
    "sdk",
    ("appbuilder-sdk==1.1.5", "flask-restful"),
    ("flask", "werkzeug", "gunicorn", "gevent", "greenlet", "sqlalchemy", "pydantic", "orjson"),
)
ADK = Venv("adk", ("google-adk==2.13.*",), _UVICORN)
AGNO = Venv("agno", ("agno[os,sqlite]==3.1.*",), (*_UVICORN, "sqlalchemy"))
