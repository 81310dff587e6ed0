"""Requests to applications are the SDK's, member by member, as recorded; recorded answers are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.models.app_wire import RECORDED, recorded
from tests.models.test_wire import REQUESTS, WIRE

from appbuilder import AppBuilderClient, Message, describe_app, describe_apps
from appbuilder.testing import AppDouble, Recorded, Reply, SentFile

RESPONSES = WIRE["responses"]
LATER = {request["call"]: request for request in RECORDED}


def same(name: str, sent: Recorded) -> bool:
    """Whether *sent* is the request of that name, the order of members included."""
    return json.dumps(recorded(name, sent)) == json.dumps(REQUESTS[f"app.{name}"])


def talk(app_server: AppDouble, file: Path) -> dict[str, Recorded]:
    """All calls of the record, by name."""
    client = AppBuilderClient("app-1")
    conversation = client.create_conversation()
    file.write_text("x")
    client.upload_local_file(conversation, str(file))
    client.run(conversation, "你好")
    list(client.run(conversation, "你好", stream=True).content)
    client.feedback(conversation, "m-1", "upvote")
    names = ("create_conversation", "upload_file", "run.blocking", "run.streaming", "feedback")
    return dict(zip(names, app_server.requests, strict=True))


def test_every_request_is_the_recorded_one(app_server: AppDouble, tmp_path: Path) -> None:
    for name, sent in talk(app_server, tmp_path / "a.txt").items():
        assert same(name, sent), name
        assert sent.headers["x-appbuilder-request-id"] == sent.headers["x-bce-request-id"]


def test_both_records_agree() -> None:
    shared = [name for name in REQUESTS if name in LATER]
    assert len(shared) == 5
    assert [REQUESTS[name] for name in shared] == [LATER[name] for name in shared]


def test_the_comparison_can_fail(app_server: AppDouble) -> None:
    client = AppBuilderClient("app-1")
    client.run(client.create_conversation(), "你好吗")
    assert not same("run.blocking", app_server.runs[0])


def test_the_form_of_an_upload(app_server: AppDouble, tmp_path: Path) -> None:
    file = tmp_path / "报 告.pdf"
    file.write_bytes(b"%PDF\r\n--\r\n\0")
    client = AppBuilderClient("app-1")
    conversation = client.create_conversation()
    assert client.upload_local_file(conversation, str(file)) == "file-1"
    assert client.upload_file(conversation, file_url="https://host/a.pdf") == "file-2"
    assert client.upload_file(conversation, file, "https://host/a.pdf") == "file-3"  # type: ignore[arg-type]
    own = {"app_id": "app-1", "conversation_id": "conv-1"}
    sent = own | {"file": SentFile("报 告.pdf", "application/pdf", file.read_bytes())}
    assert [request.body for request in app_server.requests[1:]] == [
        sent, own | {"file_url": "https://host/a.pdf"}, sent,
    ]  # fmt: skip
    assert [request.headers["content-length"].isdigit() for request in app_server.requests[1:]] == [True] * 3


def raw(value: Any) -> Reply:
    return Reply(raw=json.dumps(value).encode(), headers={"X-Appbuilder-Request-Id": "r-1"})


def test_the_recorded_answers_are_read(app_server: AppDouble, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("")
    app_server.reply(raw(RESPONSES["app.create_conversation"]), to="conversation")
    app_server.reply(raw(RESPONSES["app.upload_file"]), to="upload")
    app_server.reply(raw({"request_id": "r"}), to="feedback")
    app_server.reply(raw(RESPONSES["app.run.blocking"]))
    client = AppBuilderClient("app-1")
    assert client.create_conversation() == "conv-1"
    assert client.upload_local_file("conv-1", str(file)) == "file-1"
    assert client.feedback("conv-1", "m-1", "cancel") == "r-1"
    message: Message[Any] = client.run("conv-1", "你好")
    assert (message.content.answer, message.content.message_id, message.content.events) == ("你好", "m-1", [])
    assert message.content.conversation_id == "conv-1"
    assert message.content.is_completion is True


def test_a_recorded_stream_is_read(app_server: AppDouble) -> None:
    lines = [f"data: {json.dumps(one)}\n\n" for one in RESPONSES["app.run.streaming (SSE data lines)"]]
    app_server.reply(Reply(raw="".join(lines).encode()))
    content = AppBuilderClient("app-1").run("conv-1", "你好", stream=True).content
    first, second, last = content
    assert [one.answer for one in (first, second, last)] == ["", "你好", ""]
    event = first.events[0]
    assert (event.code, event.message, event.status) == (0, "", "running")
    assert (event.event_type, event.content_type, event.detail) == ("ChatAgent", "status", {})
    assert (event.usage, event.tool_calls, event.event_id) == (None, None, "1")
    assert second.events[0].detail == {"text": "你好"}
    assert last.events[0].usage.model_dump() == {
        "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "name": "m",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["describe_apps", "describe_app"])
def test_lists(app_server: AppDouble, name: str) -> None:
    describe_apps() if name == "describe_apps" else describe_app("app-1")
    assert recorded(name, app_server.requests[0]) == LATER[f"app.{name}"]
