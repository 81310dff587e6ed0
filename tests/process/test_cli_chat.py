"""``appbuilder chat``: at a terminal and in a pipe, with a component and with a service."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.process.server import Server, start
from tests.process.serving import ROOT, free_port, rows, settings
from tests.process.terminal import ENTERED, PROGRAM, PROMPT, Terminal

from appbuilder.testing.server import Exchange, HttpDouble, Reply

APP = str(ROOT / "tests/process/apps/fixed_answer.py")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, port = tmp_path_factory.mktemp("service"), free_port()
    env = {**settings(folder, PAGE="false"), "APPBUILDER_DATABASE": f"sqlite:///{folder}/said.db"}
    command = [*PROGRAM, "serve", f"{APP}:Remembers", "--port", str(port)]
    with start(folder, command, port=port, env=env) as server:
        server.wait_ready()
        yield server


def environ(folder: Path, **more: str) -> dict[str, str]:
    database = f"sqlite:///{folder}/said.db"
    return {"XDG_STATE_HOME": str(folder / "state"), "APPBUILDER_DATABASE": database, **more}


def piped(folder: Path, said: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, "chat", *arguments], input=said, capture_output=True, text=True, cwd=folder, timeout=60,
        env={**os.environ, **environ(folder, **more)}, check=False,
    )


def test_what_is_piped_in_is_one_message(tmp_path: Path) -> None:
    ended = piped(tmp_path, "你好\nthere\n", f"{APP}:Remembers", "--session", "s1")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "你好\nthere\n", "")
    again = piped(tmp_path, "more", f"{APP}:Remembers", "--session", "s1")
    assert again.stdout == "你好\nthere + more\n"
    assert piped(tmp_path, "other", f"{APP}:Remembers").stdout == "other\n"


def test_a_service_answers_a_pipe(service: Server, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{service.port}"
    assert piped(tmp_path, "a", url, "--session", "s2").stdout == "a\n"
    assert piped(tmp_path, "b", url + "/chat", "--session", "s2").stdout == "a + b\n"
    assert not (tmp_path / "said.db").exists()


@pytest.mark.parametrize(
    ("target", "said", "status", "sentence"),
    [
        (f"{APP}:paced", " \n", 2, "Standard input is empty"),
        (f"{APP}:broken", "x", 1, "The component failed. OSError('no disk left')"),
        (f"{APP}:nobody", "x", 2, "has no 'nobody'; broken, endless, paced, Remembers or"),
        ("http://127.0.0.1:9", "x", 1, "http://127.0.0.1:9 cannot be reached: "),
    ],
)
def test_what_went_wrong_is_a_sentence(
    tmp_path: Path, target: str, said: str, status: int, sentence: str
) -> None:
    ended = piped(tmp_path, said, target)
    assert ended.returncode == status
    assert sentence in ended.stderr.splitlines()[-1]
    assert ended.stdout.strip() == ""


def test_a_key_is_sent_and_asked_for(tmp_path: Path) -> None:
    class Guarded(HttpDouble):
        def respond(self, exchange: Exchange) -> None:
            body = {"code": 401, "message": "Show who you are.", "request_id": "r", "result": None}
            exchange.whole(Reply(status=401), body)

    with Guarded() as double:
        ended = piped(tmp_path, "x", double.address, APPBUILDER_KEY="secret")
    assert ended.stderr == "Show who you are. Pass a key with --key or APPBUILDER_KEY.\n"
    assert double.requests[0].headers["authorization"] == "Bearer secret"
    assert double.requests[0].body["stream"] is True


def test_an_answer_does_not_steer_the_terminal(tmp_path: Path) -> None:
    assert piped(tmp_path, "x", f"{APP}:dangerous").stdout == "[2Jredx\n"


def test_a_conversation_at_the_terminal(tmp_path: Path) -> None:
    with Terminal(["chat", f"{APP}:Remembers"], tmp_path, **environ(tmp_path)) as terminal:
        terminal.wait_for(PROMPT)
        assert terminal.say("海淀的面积") == "海淀的面积\r\n"
        assert terminal.say("two") == "海淀的面积 + two\r\n"
        assert terminal.say("\x1b[A\x1b[A") == "海淀的面积 + two + 海淀的面积\r\n"  # Up, twice: the history
        first = terminal.say("/session").strip()
        assert first in terminal.say("/sessions")
        assert terminal.say("/new") == ""
        assert terminal.say("//fresh") == "/fresh\r\n"
        assert terminal.say(f"/session {first}").strip() == first
        assert terminal.say("back") == "海淀的面积 + two + 海淀的面积 + back\r\n"
        assert "/sessions       list the newest sessions" in terminal.say("/what")
        terminal.type("\x04")  # Ctrl-D
        terminal.wait_for(f"--session {first}")
        assert terminal.wait_end() == 0
    history = tmp_path / "state/appbuilder/chat.history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "海淀的面积" in history.read_text()


def test_a_service_at_the_terminal(service: Server, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{service.port}"
    with Terminal(["chat", url], tmp_path, **environ(tmp_path)) as terminal:
        terminal.wait_for(PROMPT)
        assert terminal.say("one") == "one\r\n"
        assert terminal.say("two") == "one + two\r\n"
        assert terminal.say("/session").strip() in terminal.say("/sessions")
        terminal.type("/exit\r")
        assert terminal.wait_end() == 0


def test_ctrl_c_stops_the_answer_and_leaves_at_an_empty_line(tmp_path: Path) -> None:
    with Terminal(["chat", f"{APP}:endless"], tmp_path, **environ(tmp_path)) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("one two three\r")
        terminal.wait_for(f"{ENTERED}one two three one ")
        terminal.type("\x03")
        terminal.wait_for("(stopped)")
        terminal.wait_for(PROMPT)
        terminal.type("half a line")
        terminal.wait_for("half a line")
        terminal.type("\x03")
        terminal.wait_for(PROMPT)
        terminal.type("again\r")
        terminal.wait_for(f"{ENTERED}again again ")
        terminal.type("\x03")
        terminal.wait_for("(stopped)")
        terminal.wait_for(PROMPT)
        terminal.type("\x03")
        assert terminal.wait_end() == 0
    # The component was stopped, too, and what there was is kept.
    kept = rows(f"sqlite:///{tmp_path}/said.db", "message_key = '_appbuilder.turn'")
    assert [row["message_value"]["state"] for row in kept] == ["incomplete", "incomplete"]


def test_chinese_input_takes_two_columns_a_character(tmp_path: Path) -> None:
    with Terminal(["chat", f"{APP}:Remembers"], tmp_path, **environ(tmp_path)) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("你好吗")
        terminal.wait_for("你好吗")
        terminal.type("\x1b[D")  # one character to the left is two columns
        terminal.wait_for("\x1b[2D")
        assert terminal.say("\x7f") == "你吗\r\n"
        terminal.type("\x04")
        assert terminal.wait_end() == 0
