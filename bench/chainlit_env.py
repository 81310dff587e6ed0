"""What Chainlit's own data layer needs in addition to Chainlit, in a folder that only the bench uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent.parent / ".bench" / "chainlit"
WANTED = "aiosqlite==0.22.1"


def ensure() -> None:
    """Installs it where it is missing or of another version.

    :raises subprocess.CalledProcessError: pip could not install it; its own words say why.
    """
    stamp = FOLDER / ".ready"
    if stamp.exists() and stamp.read_text() == WANTED:
        return
    pip = [sys.executable, "-m", "pip", "install", "-q", "--upgrade", "--no-deps"]
    subprocess.run([*pip, "--target", str(FOLDER), WANTED], check=True)
    stamp.write_text(WANTED)
