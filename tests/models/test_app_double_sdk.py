"""The double is held against the released SDK: one program runs on the SDK and on ours, and sees the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.models.app_wire import NAMES, RECORDED, recorded

from appbuilder.testing import AppDouble, AppReply, Recorded, Reply

PROGRAM = Path(__file__).with_name("app_scenario.py")
WEATHER = AppReply(tool_calls=[("get_weather", {"city": "北京"})], thought="要看天气")
TWICE = AppReply(tool_calls=[*WEATHER.tool_calls, ("get_weather", {"city": "上海"})], thought="两次")
BROKEN = {"event_status": "error", "event_code": 7, "event_message": "坏", "content_type": "code"}
APPS = (
    {"id": "app-1", "name": "应用", "appType": "agent", "isPublished": True, "updateTime": 1721815842,
     "description": "d", "prologue": "你好", "exampleQueries": ["问"], "modelConfig": {"name": "m"}},
    {"id": "app-2", "name": "二", "appType": "chatflow", "isPublished": True},
    {"id": "app-3"},
)
REPLIES = (
    Reply(), Reply(), WEATHER, Reply(), WEATHER, Reply(),
    AppReply(follow_up=["还有呢"], events=[{"content_type": "rag", "outputs": {"references": []}}]),
    AppReply(asks="哪个航班？", published=["好的。"]), Reply(["起飞了"]),
    WEATHER, Reply(), TWICE, AppReply(events=[BROKEN]), WEATHER, Reply(),
    AppReply(asks="去哪？"), Reply(["订好了"]),
    *(Reply(status=status, error=("Bad", "no")) for status in (400, 401, 403, 429, 500)), Reply(cut_after=2),
)  # fmt: skip


def run(python: str, folder: Path) -> tuple[dict[str, Any], list[Recorded]]:
    """What the program saw, and what the double was sent."""
    file = folder / "a.txt"
    file.write_text("一二三")
    with AppDouble(apps=APPS) as double:
        double.reply(*REPLIES)
        done = subprocess.run(
            [python, str(PROGRAM), double.address, str(file)],
            capture_output=True, text=True, check=False, cwd=folder,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        (conversation,) = double.conversations.values()
        assert conversation.feedback == {"m-1": "downvote"}
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen, double.requests


def texts(requests: list[Recorded]) -> list[str]:
    """As texts, so that the order of members counts."""
    return [json.dumps(recorded(*one)) for one in zip(NAMES, requests, strict=True)]


@pytest.fixture(scope="module")
def on_the_sdk(
    sdk_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], list[Recorded]]:
    return run(str(sdk_python), tmp_path_factory.mktemp("sdk"))


def test_the_sdk_and_ours_see_and_send_the_same(
    on_the_sdk: tuple[dict[str, Any], list[Recorded]], tmp_path: Path
) -> None:
    seen, sent = run(sys.executable, tmp_path)
    theirs, their_requests = on_the_sdk
    assert theirs["errors"] == [True] * 6
    for what, value in theirs.items():
        assert seen[what] == value, what
    assert texts(sent) == texts(their_requests)


def test_the_committed_requests_are_the_sdks(on_the_sdk: tuple[dict[str, Any], list[Recorded]]) -> None:
    assert texts(on_the_sdk[1]) == [json.dumps(one) for one in RECORDED]
