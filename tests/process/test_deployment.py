"""What docs/deployment.md gives to be copied works as it stands."""

from __future__ import annotations

import shlex
import signal
from configparser import ConfigParser
from pathlib import Path

from tests.process.server import start
from tests.process.serving import ROOT, free_port, settings
from tests.process.terminal import PROGRAM


def service_section() -> dict[str, str]:
    """``[Service]`` of the unit in the docs."""
    text = (ROOT / "docs/deployment.md").read_text("utf-8")
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text.partition("```ini\n")[2].partition("```")[0])
    return dict(unit["Service"])


def test_the_unit_starts_where_only_its_own_places_can_be_written(tmp_path: Path) -> None:
    unit, port = service_section(), free_port()
    name, _, cache = unit["Environment"].partition("=")
    assert cache == f"/var/cache/{unit['CacheDirectory']}"  # which systemd makes, and nobody else can
    (tmp_path / "app.py").write_text("def answer(message: str) -> str:\n    return message\n")
    env = settings(tmp_path, PAGE="true") | {"HOME": "/dev/null", name: str(tmp_path / "cache")}
    command = [*PROGRAM, *shlex.split(unit["ExecStart"])[1:], "--port", str(port)]
    with start(tmp_path, command, port=port, env=env) as server:
        server.wait_ready()
        assert [each.name for each in (tmp_path / "cache").glob("page-*")]
        assert server.terminate() == -signal.SIGTERM
