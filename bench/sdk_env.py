"""The environment of AppBuilder SDK 1.1.5: made once, with the same server versions as ours."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).parent.parent / ".bench" / "sdk"
PYTHON = FOLDER / "bin" / "python"

SAME_VERSION = ("flask", "werkzeug", "gunicorn", "gevent", "greenlet", "sqlalchemy", "pydantic", "orjson")


def ensure() -> None:
    """Makes the environment where it is missing or of other versions.

    :raises subprocess.CalledProcessError: pip could not install it; its own words say why.
    """
    wanted = ["appbuilder-sdk==1.1.5", "flask-restful"]
    wanted += [f"{name}=={version(name)}" for name in SAME_VERSION]
    stamp = FOLDER / ".ready"
    if stamp.exists() and stamp.read_text() == "\n".join(wanted):
        return
    print("making the environment of AppBuilder SDK 1.1.5 in .bench/sdk", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER)], check=True)
    subprocess.run([str(PYTHON), "-m", "pip", "install", "-q", *wanted], check=True)
    stamp.write_text("\n".join(wanted))
