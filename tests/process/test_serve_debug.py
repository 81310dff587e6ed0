"""``serve(debug=True)``: the reloader, errors in full, and who may see the debugger."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.process.server import Server, free_port, start, start_program
from tests.process.talk import COMPONENT, until

SOURCE = COMPONENT.replace('yield f"{text}', 'yield f"first version {text}') + '''
if os.environ.get("ROUTE"):
    make = runtime._app

    def with_route(*args, **kwargs):
        app = make(*args, **kwargs)
        app.add_url_rule("/mine", "mine", lambda: 1 / 0)
        return app

    runtime._app = with_route
runtime.serve(host=os.environ["HOST"], port=port)
'''


def test_it_starts_again_when_the_program_changes(tmp_path: Path) -> None:
    with start_program(tmp_path, SOURCE, env={"HOST": "0.0.0.0"}) as server:
        assert server.chat("a", n=1).content == "first version a0 "
        with server.stream("b", n=1) as events:
            assert events.texts == ["first version b0 ", ""]
        (tmp_path / "program.py").write_text(SOURCE.replace("first version", "second version"))
        until(lambda: "second" in _content(server))
        assert server.log.count("serving on") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_debugger_is_for_this_machine_alone(host: str, tmp_path: Path) -> None:
    with start_program(tmp_path, SOURCE, env={"HOST": host, "ROUTE": "1"}) as server:
        local = host == "127.0.0.1"
        # A turn that fails is answered as JSON, with its traceback, either way.
        failed = server.chat("a", n="not a number")
        assert failed.json()["code"] == 500
        assert "TypeError" in failed.json()["traceback"]
        assert server.request("GET", "/nothing").json()["code"] == 404

        console = server.request("GET", "/console")
        assert console.status == (200 if local else 404)
        mine = server.request("GET", "/mine")
        assert mine.status == 500
        assert (b"EVALEX = true" in mine.body) is local
        if not local:
            assert mine.json()["code"] == 500
        # Another site's name for this address (DNS rebinding) does not open it.
        rebound = server.request("GET", "/console", headers={"Host": "evil.example"})
        assert rebound.status != 200


@pytest.mark.parametrize("way", ["-c", "-"])
def test_without_a_script_nothing_is_started_again(way: str, tmp_path: Path) -> None:
    source = SOURCE.replace("host=os.environ[\"HOST\"], ", "host='127.0.0.1', ")
    (tmp_path / "source").write_text(source)
    command = [sys.executable, "-c", source] if way == "-c" else ["sh", "-c", f"{sys.executable} - < source"]
    with start(tmp_path, command, port=free_port()) as server:
        assert server.chat("a", n=1).content == "first version a0 "
        assert "Restarting" not in server.log
        server.interrupt()
        server.wait()
        assert "Traceback" not in server.log


def _content(server: Server) -> str:
    try:
        return str(server.chat("a", n=1).content)
    except OSError:
        return ""
