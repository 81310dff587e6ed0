"""Ctrl-C while ``appbuilder serve`` starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

INTERRUPTED_AT = """
import signal, sys, weakref
from appbuilder.serve.server import address

moment = sys.argv.pop()

def reached(name, *_):
    if name == moment:
        signal.raise_signal(signal.SIGINT)

class Gone:
    pass

def listen(*where):
    gone = Gone()
    kept = weakref.ref(gone, lambda _: reached("weakref"))
    del gone
    reached("listen")
    return real(*where)

class Finder:
    find_spec = staticmethod(reached)

real, address.listen = address.listen, listen
sys.meta_path.insert(0, Finder)
from appbuilder.cli.main import main
main()
"""
"""``appbuilder`` with Ctrl-C while a module is imported, or before it listens: also in a weakref's call."""


@pytest.mark.parametrize(
    ("workers", "moment"), [("1", "typer"), ("1", "listen"), ("1", "weakref"), ("2", "weakref")]
)
def test_the_program_ends_whenever_it_is_interrupted(workers: str, moment: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def answer(message: str) -> str:\n    return message\n")
    verb = ["serve", "app.py:answer", "--port", "0", "--no-page", "--workers", workers]
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED_AT, *verb, moment], cwd=tmp_path,
                           capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 130, ended.stderr
    assert ("Exception ignored" in ended.stderr) is (moment == "weakref")
    assert ("Traceback" in ended.stderr) is (moment == "weakref")
