"""Stop: what runs ends within a second, what was said is kept and marked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from appbuilder import clock
from appbuilder.testing import GatewayDouble, OpenAIDouble, Reply
from tests.browser.browsing import Chat
from tests.browser.conftest import OpenPage, Serve
from tests.browser.serving import TURN_KEY, serve_page, stored
from tests.browser.stage import Stage
from tests.process.server import Server
from tests.process.serving import eventually

SECOND = 1.0
MARK = "⏹ 已停止"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Iterator[Server]:
    with serve_page(tmp_path_factory.mktemp("stopping"), stage=stage) as server:
        yield server


def shows_the_part(chat: Chat, part: str) -> None:
    expect(chat.answers).to_have_count(1)
    expect(chat.answer).to_contain_text(part)
    expect(chat.answer).to_contain_text(MARK)


def test_stop_closes_the_iterator_and_keeps_the_part(
    server: Server, stage: Stage, open_page: OpenPage
) -> None:
    chat = open_page(server)
    chat.ask("停")
    turn = stage.turn("停").say("这是", "前半")
    expect(chat.answer).to_have_text("这是前半")
    pressed = clock.monotonic()
    chat.stop_button.click()
    assert turn.closed() - pressed < SECOND
    chat.at_rest()
    shows_the_part(chat, "这是前半")
    session_id = chat.session_id
    chat.reload()
    shows_the_part(chat, "这是前半")
    [row] = stored(server, TURN_KEY, session_id=session_id)
    assert row["message_value"]["state"] == "incomplete"
    assert row["message_value"]["answer"]["content"] == "这是前半"
    [answer] = stored(server, "answer", session_id=session_id)
    assert answer["message_value"]["content"] == "这是前半"
    assert answer["message_value"]["state"] == "incomplete"


def test_after_a_stop_the_conversation_goes_on(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server)
    chat.ask("一")
    turn = stage.turn("一").say("答一")
    expect(chat.answer).to_have_text("答一")
    chat.stop_button.click()
    turn.closed()
    chat.at_rest()
    chat.ask("二")
    following = stage.turn("二")
    assert following.about["query"] == [], "a turn that was cut is no history"
    following.answer("答二")
    expect(chat.answer).to_have_text("答二")


def test_stop_before_the_first_piece(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server)
    chat.ask("什么也没有")
    turn = stage.turn("什么也没有")
    pressed = clock.monotonic()
    chat.stop_button.click()
    assert turn.closed() - pressed < SECOND
    chat.at_rest()
    expect(chat.answer).to_contain_text(MARK)
    eventually(lambda: [row["message_value"]["state"]
                        for row in stored(server, TURN_KEY, session_id=chat.session_id)] == ["incomplete"])


@pytest.mark.parametrize("kind", ["openai/double", "eb-4"])
def test_stop_closes_the_models_connection(served: Serve, open_page: OpenPage, kind: str) -> None:
    double: GatewayDouble | OpenAIDouble = GatewayDouble() if kind == "eb-4" else OpenAIDouble()
    with double:
        double.default = Reply(["模型说了", "没说"], silent_after=1)
        env = {"GATEWAY_URL": double.address, "TOKEN": "bce-v3/ALTAK-x/y", "MODEL_NAME": kind,
               "OPENAI_BASE_URL": f"{double.address}/v1", "OPENAI_API_KEY": "key"}
        server = served("asking", **env)
        chat = open_page(server)
        chat.ask("问模型")
        expect(chat.answer).to_have_text("模型说了")
        pressed = clock.monotonic()
        chat.stop_button.click()
        double.wait_for_left()
        assert clock.monotonic() - pressed < SECOND
        chat.at_rest()
        shows_the_part(chat, "模型说了")
