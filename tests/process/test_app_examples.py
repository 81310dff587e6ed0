"""The examples that reach an application, run as they stand."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.process import rawhttp
from tests.process.page_client import Browser
from tests.process.server import Server, start
from tests.process.serving import ROOT, eventually, free_port, rows

from appbuilder.testing import AppDouble, AppReply


@pytest.fixture
def double() -> Iterator[AppDouble]:
    with AppDouble() as made:
        yield made


def run(example: str, folder: Path, double: AppDouble, *, port: int, **given: str) -> Server:
    """Starts a copy of the example, with nothing beside it; returns when it answers."""
    shutil.copy(ROOT / "examples" / f"{example}.py", folder)
    env = {"APPBUILDER_TOKEN": "the-token", "APP_ID": "app-1", "GATEWAY_URL_V2": double.address,
           "PYTHONPATH": f"{ROOT}/src", **given}
    return start(folder, [sys.executable, f"{example}.py"], port=port, env=env)


def test_app_agent_serves_the_application_as_api_and_page(tmp_path: Path, double: AppDouble) -> None:
    page_port, api_port = free_port(), free_port_beside(free_port())
    ports = {"PAGE_PORT": str(page_port), "API_PORT": str(api_port)}
    with run("app_agent", tmp_path, double, port=page_port, **ports) as server:
        eventually(lambda: listens(api_port))
        double.reply(AppReply(asks="哪座城市？"))
        asked = rawhttp.stream(api_port, {"message": "天气", "session_id": "me"})
        assert rawhttp.text_of(asked) == "哪座城市？"
        assert rawhttp.chat(api_port, {"message": "北京", "session_id": "me"}).content == "北京"
        with Browser(page_port).enter().connect() as chat:
            assert "你好" in chat.ask("你好")
        assert f"http://127.0.0.1:{page_port}" in server.log
        assert server.terminate() == -signal.SIGTERM
    assert [one.queries for one in double.conversations.values()] == [["天气", "北京"], ["你好"]]
    assert {request.headers["authorization"] for request in double.requests} == {"Bearer the-token"}
    kept = rows(f"sqlite:///{tmp_path}/app_agent.db", "message_key = '_appbuilder.app'")
    assert {row["message_value"]["content"]["conversation_id"] for row in kept} == {"conv-1", "conv-2"}


def free_port_beside(taken: int) -> int:
    """Another one."""
    with socket.create_server(("127.0.0.1", taken)):
        return free_port()


def listens(port: int) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


@pytest.mark.parametrize("stream", [False, True])
def test_app_local_tool_calls_the_function(tmp_path: Path, double: AppDouble, stream: bool) -> None:
    port = free_port()
    with run("app_local_tool", tmp_path, double, port=port) as server:
        for city, said in (("北京", "北京现在7°C"), ("火星", "没有火星的数据")):
            double.reply(AppReply(tool_calls=[("get_temperature", {"city": city})]))
            body = {"message": f"{city}现在多少度", "session_id": "me"}
            if stream:
                assert rawhttp.text_of(rawhttp.stream(port, body)) == said
            else:
                assert rawhttp.chat(port, body).content == said
        assert rawhttp.chat(port, {"message": "谢谢", "session_id": "me"}).content == "谢谢"
        assert rawhttp.chat(port, {"message": "你是谁", "session_id": "other"}).content == "你是谁"
        assert server.terminate() == 0
    mine, others = (one.queries for one in double.conversations.values())
    assert [words for words in mine if words] == ["北京现在多少度", "火星现在多少度", "谢谢"]
    assert others == ["你是谁"]
    assert double.runs[0].body["tools"][0]["function"]["name"] == "get_temperature"
    assert double.runs[1].body["tool_outputs"] == [{"tool_call_id": "call-1", "output": "北京现在7°C"}]
