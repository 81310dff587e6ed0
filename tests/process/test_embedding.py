"""The server of docs/embedding.md that asks for its readers, before a real service."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from tests.process.server import environment, start
from tests.process.serving import ROOT, free_port, serve_command, settings
from tests.process.terminal import PROGRAM

PROGRAM_OF_AGENT = '''
def answer(message, history):
    yield f"{len(history) // 2} before. "
    yield f"You said: {message}"
'''


def site() -> Flask:
    page = (ROOT / "docs/embedding.md").read_text("utf-8")
    namespace: dict[str, Any] = {"__name__": "site"}
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], namespace)
    app: Flask = namespace["app"]
    return app


def test_each_reader_has_a_conversation_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app.py").write_text(PROGRAM_OF_AGENT)
    env, port = settings(tmp_path, AUTH="keys"), free_port()
    made = subprocess.run([*PROGRAM, "keys", "add", "site"], cwd=tmp_path, env=environment(**env),
                          capture_output=True, text=True, check=True)
    [key] = re.findall(r"\bab_[\w-]+", made.stdout + made.stderr)
    with start(tmp_path, serve_command("app.py:answer", port), port=port, env=env):
        monkeypatch.setenv("AGENT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AGENT_KEY", key)
        monkeypatch.setenv("SITE_SECRET", "x")
        app = site()
        ann, bob = app.test_client(), app.test_client()

        def ask(reader: Any, message: str) -> str:
            answer = reader.post("/ask", json={"message": message, "session_id": "chosen"})
            assert answer.mimetype == "text/event-stream"
            return "".join(re.findall(r'"content":"([^"]*)"', answer.get_data(as_text=True)))

        assert ask(ann, "one") == "0 before. You said: one"
        assert ask(ann, "two") == "1 before. You said: two"
        assert ask(bob, "three") == "0 before. You said: three"
