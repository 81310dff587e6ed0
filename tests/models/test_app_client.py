"""AppBuilderClient against a double: answers as they come, files, lists, credentials."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from appbuilder import (
    AgentBuilder,
    AppBuilderClient,
    Component,
    describe_app,
    describe_apps,
    get_all_apps,
    get_app_list,
)
from appbuilder.components.app_client.files import file_part
from appbuilder.components.app_client.service import AppService
from appbuilder.core.console.appbuilder_client import data_class
from appbuilder.core.context import init_context
from appbuilder.errors import ConfigurationError, InvalidRequest, ModelRejected, Unauthenticated
from appbuilder.models import http_client
from appbuilder.settings import Settings
from appbuilder.testing import AppDouble, AppReply, Reply

_T = TypeVar("_T")


@pytest.fixture
def client(app_server: AppDouble) -> AppBuilderClient:
    return AppBuilderClient("app-1")


@pytest.fixture
def conversation(client: AppBuilderClient) -> str:
    return client.create_conversation()


def test_a_stream_is_read_as_it_comes(
    app_server: AppDouble, client: AppBuilderClient, conversation: str
) -> None:
    gates = {number: threading.Event() for number in (2, 3)}
    app_server.reply(AppReply(["一", "二"], published=["三"], gates=gates))
    message = client.run(conversation, "数", stream=True)
    said = []
    for answer in message.content:
        said.append(answer.text)
        if len(said) >= 2 and len(said) in gates:
            gates[len(said)].set()
    assert said == ["", "一", "二", "三", "", ""]
    assert [gate.is_set() for gate in gates.values()] == [True, True]


def test_a_stream_that_has_ended_is_the_whole_answer(
    app_server: AppDouble, client: AppBuilderClient, conversation: str
) -> None:
    reply = AppReply(["一", "二"], published=["三"], asks="四？", usage={"total_tokens": 9})
    app_server.reply(reply, reply)
    message = client.run(conversation, "数", stream=True)
    pieces = list(message.content)
    blocking = client.run(conversation, "数").content
    assert (message.content.answer, message.content.text) == ("一二", "一二三四？")
    assert (blocking.answer, blocking.text) == ("一二", "一二三四？")
    assert message.content.events == [event for piece in pieces for event in piece.events]
    assert message.content.message_id == pieces[0].message_id == "m-1"
    assert message.content.is_completion is True
    assert message.mtype == "AppBuilderClientAnswer"
    assert message.model_dump()["content"]["answer"] == "一二"
    assert blocking.events[-3].usage.total_tokens == 9


def test_a_workflow_asks_and_is_answered(
    app_server: AppDouble, client: AppBuilderClient, conversation: str
) -> None:
    app_server.reply(AppReply(asks="叫什么？"), Reply(["你好，小明"]))
    asked = client.run(conversation, "你好").content
    assert (asked.text, asked.interrupt_event_id) == ("叫什么？", "question-1")
    action = data_class.Action.create_resume_action(asked.interrupt_event_id)
    answered = client.run(conversation, "小明", action=action).content
    assert (answered.text, answered.interrupt_event_id) == ("你好，小明", None)
    with pytest.raises(ModelRejected, match="was not asked"):
        client.run(conversation, "小明", action=action)


def test_what_nobody_knows_passes_through(
    app_server: AppDouble, client: AppBuilderClient, conversation: str
) -> None:
    app_server.reply(AppReply(events=[{"colour": "red", "usage": None}], extra={"mood": ["good"]}))
    content = client.run(conversation, "你好").content
    assert content.mood == ["good"]
    assert content.events[0].colour == "red"
    dumped = content.model_dump()
    assert (dumped["mood"], dumped["events"][0]["colour"]) == (["good"], "red")


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"conversation_id": ""}, "conversation_id"),
        ({"conversation_id": None}, "conversation_id"),
        ({"query": ""}, "query"),
        ({"query": "", "tool_outputs": []}, "query"),
        ({"query": ["q"]}, "query"),
        ({"file_ids": "file-1"}, "file_ids"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools.function.description"),
        ({"tools": 5}, "tools"),
        ({"tool_outputs": [{"tool_call_id": "秘密的编号"}]}, "tool_outputs.output"),
        ({"tool_outputs": [{"tool_call_id": "c", "output": ["秘密"]}]}, "tool_outputs.output"),
        ({"action": {"action_type": "resume"}}, "action.parameters"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"parameters": ["a"]}, "parameters"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_sent(
    app_server: AppDouble, client: AppBuilderClient, wrong: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text) as raised:
        client.run(**{"conversation_id": "conv-1", "query": "你好"} | wrong)
    assert isinstance(raised.value, InvalidRequest)
    assert "秘密" not in str(raised.value)
    assert raised.value.__context__ is None
    assert app_server.requests == []


class McpTool:
    name, description, inputSchema = "f", None, {"type": "object"}


@pytest.mark.parametrize(
    ("tool", "sent"),
    [
        (data_class.MCPTool(name="f", description="d", inputSchema={}), ("f", "d", {})),
        (McpTool(), ("f", "", {"type": "object"})),
        ({"function": {"name": "f", "description": "d", "parameters": {}, "x": 1}}, ("f", "d", {}, 1)),
    ],
)
def test_kinds_of_tools(
    app_server: AppDouble, client: AppBuilderClient, conversation: str, tool: Any, sent: tuple[Any, ...]
) -> None:
    client.run(conversation, "q", tools=[tool, {"type": "code_interpreter"}])
    first, second = app_server.runs[0].body["tools"]
    assert (first["type"], tuple(first["function"].values())) == ("function", sent)
    assert second == {"type": "code_interpreter"}


@pytest.mark.parametrize("path", ["nothing.txt", "", ".", "pipe", "unreadable"])
def test_what_is_no_file_is_not_uploaded(
    app_server: AppDouble,
    client: AppBuilderClient,
    tmp_path: Path,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "unreadable").write_text("x")
    os.mkfifo(tmp_path / "pipe")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    if path == "unreadable":  # root may open anything
        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ValueError, match=r"file|opened"):
        client.upload_local_file("conv-1", str(tmp_path / path) if path else "")
    with pytest.raises(ValueError, match="conversation_id"):
        client.upload_local_file("", str(tmp_path / path))
    assert app_server.requests == []


def test_a_file_is_read_while_it_is_sent(
    app_server: AppDouble, client: AppBuilderClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 3 * 1024 * 1024 + 1
    (tmp_path / "a.bin").write_bytes(b"\1" * size)
    sent: list[int] = []
    send = http_client.client().send

    def noted(request: Any, **options: Any) -> Any:
        sent.extend(len(chunk) for chunk in request.stream)
        return send(request, **options)

    monkeypatch.setattr(http_client.client(), "send", noted)
    client.upload_local_file(client.create_conversation(), str(tmp_path / "a.bin"))
    with file_part(tmp_path / "a.bin") as (_, (_, content, _)):
        assert content.fileno()  # it is the file itself, not a copy in memory
    assert content.closed
    assert sum(sent) > size
    assert max(sent) <= 64 * 1024
    assert len(app_server.requests[-1].body["file"].data) == size


def test_lists_of_applications(app_server: AppDouble, client: AppBuilderClient) -> None:
    app_server.apps = {f"a{n}": {"id": f"a{n}", "name": f"n{n}"} for n in range(250)}
    assert [app.id for app in describe_apps(maxKeys=3)] == ["a0", "a1", "a2"]
    assert [app.id for app in describe_apps("a2", 2)] == ["a3", "a4"]
    assert [app.id for app in get_app_list(limit=2, after="a7")] == ["a8", "a9"]
    assert describe_app("a9").name == "n9"
    app_server.requests.clear()
    assert [app.name for app in get_all_apps()] == [f"n{n}" for n in range(250)]
    assert [request.body["marker"] for request in app_server.requests] == [None, "a99", "a199"]
    untold = AppReply(extra={"isTruncated": False, "nextMarker": ""})
    app_server.reply(untold, untold, to="apps")  # a page that is full may not be the last
    assert len(get_all_apps()) == 250
    for size in (0, 101, "10"):
        with pytest.raises(InvalidRequest, match="1 to 100"):
            describe_apps(maxKeys=size)  # type: ignore[arg-type]
    with pytest.raises(ModelRejected, match="no such application"):
        describe_app("nothing")


def test_a_list_that_goes_in_circles_ends(app_server: AppDouble, client: AppBuilderClient) -> None:
    again = AppReply(extra={"isTruncated": True, "nextMarker": "app-1", "data": [{"id": "app-1"}]})
    app_server.reply(again, again, to="apps")
    assert [app.id for app in get_all_apps()] == ["app-1"]
    assert len(app_server.requests) == 2


def test_a_client_needs_nothing_until_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APPBUILDER_TOKEN", raising=False)
    client = AgentBuilder("app-1")
    assert isinstance(client, (AppBuilderClient, Component))
    with pytest.raises(ConfigurationError, match="APPBUILDER_TOKEN"):
        client.create_conversation()
    for wrong in ("", None, 5):
        with pytest.raises(ValueError, match="app_id"):
            AppBuilderClient(wrong)  # type: ignore[arg-type]


def test_the_address_and_the_credential_of_a_client_go_before_the_environments(
    app_server: AppDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_URL_V2", "http://127.0.0.1:9")
    client = AppBuilderClient("app-1", secret_key="own", gateway_v2=f"{app_server.address}/")
    assert client.create_conversation() == "conv-1"
    assert app_server.requests[0].headers["authorization"] == "Bearer own"
    assert describe_apps(secret_key="other", gateway=app_server.address)
    assert app_server.requests[1].headers["authorization"] == "Bearer other"


@pytest.mark.parametrize("address", ["http://[::", "http://host:port", "http://"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ConfigurationError, match="GATEWAY_URL_V2"):
        AppBuilderClient("app-1", "t", address).create_conversation()


def test_the_settings_address() -> None:
    assert Settings.load({}).gateway_url_v2 == "https://qianfan.baidubce.com"
    assert AppService("", lambda: "t")._address == "https://qianfan.baidubce.com"


def in_a_request(credential: str | None, work: Callable[[], _T]) -> _T:
    def go() -> _T:
        context = init_context("s", "r")
        context.store = object()  # type: ignore[assignment]  # what makes it a runtime's
        context.credential = credential
        return work()

    return contextvars.copy_context().run(go)


def test_each_request_brings_its_own_credential(app_server: AppDouble) -> None:
    client = AppBuilderClient("app-1", lazy_certification=True)
    for token in ("a", "b"):
        in_a_request(token, client.create_conversation)
    assert [one.headers["authorization"] for one in app_server.requests] == ["Bearer a", "Bearer b"]
    with pytest.raises(Unauthenticated):
        in_a_request(None, client.create_conversation)
    app_server.reply(Reply(status=401, error=("InvalidToken", "no")), to="conversation")
    with pytest.raises(Unauthenticated):
        in_a_request("c", client.create_conversation)
    with pytest.raises(Unauthenticated):
        in_a_request("ü", client.create_conversation)


def test_the_paths_of_the_sdk() -> None:
    from appbuilder.core import console
    from appbuilder.core.console.appbuilder_client import appbuilder_client, event_handler

    assert console.AppBuilderClient is appbuilder_client.AppBuilderClient is AppBuilderClient
    assert appbuilder_client.AgentBuilder is AgentBuilder
    assert appbuilder_client.data_class.Event is data_class.Event
    assert issubclass(event_handler.ToolCallEventHandler, event_handler.AppBuilderEventHandler)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"conversation_id": "conv-9"}, "no such conversation"),
        ({"file_ids": ["file-9"]}, "no such file"),
        ({"tool_outputs": [{"tool_call_id": "call-9", "output": ""}]}, "not awaited"),
        ({"action": data_class.Action.create_resume_action("question-9")}, "was not asked"),
    ],
)
def test_the_double_refuses_what_the_service_would(
    client: AppBuilderClient, conversation: str, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(ModelRejected, match=text):
        client.run(**{"conversation_id": conversation, "query": "q"} | arguments)
    with pytest.raises(ModelRejected, match="no such conversation"):
        AppBuilderClient("another").run(conversation, "q")
    with pytest.raises(ModelRejected, match="no such application"):
        AppBuilderClient("another").create_conversation()
