"""Coming back: reloads, a second tab, a restart of the process, kill -9."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Route, expect

from tests.browser.browsing import Chat, Watch
from tests.browser.conftest import OpenPage, Serve
from tests.browser.serving import TURN_KEY, serve_page, stored
from tests.browser.stage import Stage
from tests.process.server import Server
from tests.process.serving import eventually


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Iterator[Server]:
    with serve_page(tmp_path_factory.mktemp("returning"), stage=stage) as server:
        yield server


def test_a_reload_in_the_middle_of_an_answer(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server)
    chat.ask("讲个故事")
    turn = stage.turn("讲个故事").say("从前")
    expect(chat.answer).to_have_text("从前")
    session_id = chat.session_id
    chat.page.reload()
    expect(chat.answer).to_have_text("从前")
    turn.say("有座山")
    expect(chat.answer).to_have_text("从前有座山")
    expect(chat.stop_button).to_be_visible()
    turn.answer("。")
    expect(chat.answer).to_have_text("从前有座山。")
    chat.at_rest()
    assert chat.said == ["讲个故事", "从前有座山。"]
    chat.reload()
    expect(chat.answer).to_have_text("从前有座山。")
    assert chat.said == ["讲个故事", "从前有座山。"]
    [row] = stored(server, TURN_KEY, session_id=session_id)
    assert row["message_value"]["answer"]["content"] == "从前有座山。"


def test_a_reload_whose_first_socket_is_answered_last(
    server: Server, stage: Stage, open_page: OpenPage
) -> None:
    chat = open_page(server, locale="zh-CN")  # a context of its own: the route ends with it
    chat.ask("先问")
    stage.turn("先问").answer("先答")
    chat.at_rest()
    session_id = chat.session_id
    held: list[Route] = []
    address = re.compile("/set-session-cookie$")
    chat.page.route(address, lambda route: route.continue_() if held else held.append(route))
    with chat.page.expect_response(address):
        chat.page.reload()
    with chat.page.expect_response(address):
        held[0].continue_()
    expect(chat.answer).to_have_text("先答")
    chat.ask("再问")
    stage.turn("再问").answer("再答")
    expect(chat.answer).to_have_text("再答")
    chat.at_rest()
    assert chat.session_id == session_id
    assert len(stored(server, TURN_KEY, session_id=session_id)) == 2


def test_stop_after_a_reload(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server)
    chat.ask("很长")
    turn = stage.turn("很长").say("一段")
    expect(chat.answer).to_have_text("一段")
    assert chat.session_id
    chat.page.reload()
    expect(chat.answer).to_have_text("一段")
    chat.stop_button.click()
    turn.closed()
    chat.at_rest()
    expect(chat.answer).to_contain_text("已停止")


def test_a_page_that_was_closed_finds_the_answer(
    server: Server, stage: Stage, open_page: OpenPage
) -> None:
    chat = open_page(server)
    chat.ask("你先忙")
    turn = stage.turn("你先忙").say("好，")
    expect(chat.answer).to_have_text("好，")
    session_id = chat.session_id
    chat.page.goto("about:blank")
    turn.answer("忙完了。")
    eventually(lambda: stored(server, TURN_KEY, session_id=session_id))
    chat.open(f"/thread/{session_id}")
    expect(chat.answer).to_have_text("好，忙完了。")


def test_two_tabs_of_one_conversation(server: Server, stage: Stage, open_page: OpenPage) -> None:
    one = open_page(server)
    one.ask("第一问")
    turn = stage.turn("第一问").say("甲")
    expect(one.answer).to_have_text("甲")
    two = Chat(one.page.context.new_page(), one.address).open(f"/thread/{one.session_id}")
    expect(two.answer).to_have_text("甲")
    turn.answer("乙")
    for tab in (one, two):
        expect(tab.answer).to_have_text("甲乙")
        tab.at_rest()
    two.ask("第二问")
    stage.turn("第二问").say("丙").answer("丁")
    for tab in (one, two):
        expect(tab.answer).to_have_text("丙丁")
    one.ask("第三问")
    turn = stage.turn("第三问").say("戊")
    for tab in (one, two):
        expect(tab.answer).to_have_text("戊")
        expect(tab.stop_button).to_be_visible()
    turn.end()
    for tab in (one, two):
        tab.at_rest()
        assert tab.said == ["第一问", "甲乙", "第二问", "丙丁", "第三问", "戊"]


def test_a_tab_that_was_offline_shows_what_it_missed(
    server: Server, stage: Stage, open_page: OpenPage, watch: Watch
) -> None:
    watch.allow_silence()
    one = open_page(server, locale="zh-CN")
    one.ask("零")
    stage.turn("零").answer("无")
    two = open_page(server, locale="zh-CN").open(f"/thread/{one.at_rest().session_id}")
    expect(two.answer).to_have_text("无")
    two.page.context.set_offline(True)
    two.page.evaluate("dispatchEvent(new Event('offline'))")
    for question in ("甲", "乙"):
        one.ask(question)
        stage.turn(question).answer(f"{question}答")
        expect(one.answer).to_have_text(f"{question}答")
        one.at_rest()
    two.page.context.set_offline(False)
    expect(two.answer).to_have_text("乙答", timeout=60_000)
    assert two.said == ["零", "无", "甲", "甲答", "乙", "乙答"]


def test_a_conversation_deleted_or_renamed_in_another_tab(
    server: Server, stage: Stage, open_page: OpenPage
) -> None:
    one = open_page(server)
    one.ask("改名")
    stage.turn("改名").answer("好")
    two = Chat(one.page.context.new_page(), one.address).open(f"/thread/{one.at_rest().session_id}")
    expect(two.answer).to_have_text("好")
    one.choose("改名", "rename-thread")
    one.page.locator("#name").fill("新名字")
    one.page.get_by_role("dialog").get_by_role("button", name="确认").click()
    expect(two.entry("新名字")).to_have_count(1)
    one.choose("新名字", "delete-thread")
    one.page.get_by_role("alertdialog").get_by_role("button").last.click()
    for tab in (one, two):
        expect(tab.page.locator("#welcome-words")).to_be_visible()
        expect(tab.entry("新名字")).to_have_count(0)
        assert tab.page.url == f"{tab.address}/"


def test_two_tabs_with_two_conversations(server: Server, stage: Stage, open_page: OpenPage) -> None:
    one = open_page(server)
    two = Chat(one.page.context.new_page(), one.address).open()
    one.ask("左")
    left = stage.turn("左")
    two.ask("右")
    right = stage.turn("右")
    left.say("左答")
    right.say("右答")
    expect(one.answer).to_have_text("左答")
    expect(two.answer).to_have_text("右答")
    left.end()
    right.end()
    assert one.at_rest().said == ["左", "左答"]
    assert two.at_rest().said == ["右", "右答"]


def test_after_a_restart_it_goes_on_with_the_components_history(
    served: Serve, stage: Stage, open_page: OpenPage, watch: Watch
) -> None:
    watch.allow_silence()
    server = served(stage=stage)
    chat = open_page(server)
    chat.ask("我叫小明")
    stage.turn("我叫小明").answer("你好，小明。")
    chat.at_rest()
    session_id = chat.session_id
    server.terminate()
    server = served(stage=stage)
    chat = open_page(server)
    chat.entry("我叫小明").click()
    expect(chat.answer).to_have_text("你好，小明。")
    assert chat.session_id == session_id
    chat.ask("我叫什么")
    turn = stage.turn("我叫什么")
    assert (turn.about["query"], turn.about["answer"]) == (["我叫小明"], ["你好，小明。"])
    turn.answer("小明。")
    expect(chat.answer).to_have_text("小明。")
    assert chat.at_rest().said == ["我叫小明", "你好，小明。", "我叫什么", "小明。"]


def test_an_open_page_finds_its_process_again(
    served: Serve, stage: Stage, open_page: OpenPage, watch: Watch
) -> None:
    watch.allow_silence()
    server = served(stage=stage)
    chat = open_page(server)
    chat.ask("第一")
    stage.turn("第一").answer("一")
    chat.at_rest()
    session_id = chat.session_id
    server.kill()
    served(stage=stage, port=server.port)
    chat.reload()
    expect(chat.answer).to_have_text("一")
    chat.ask("第二")
    turn = stage.turn("第二")
    assert turn.about["query"] == ["第一"]
    turn.answer("二")
    expect(chat.answer).to_have_text("二")
    assert chat.session_id == session_id


def test_what_is_shown_after_kill_9_is_what_the_rows_say(
    served: Serve, stage: Stage, open_page: OpenPage, watch: Watch
) -> None:
    watch.allow_silence()
    server = served(stage=stage)
    chat = open_page(server)
    for number in (1, 2):
        chat.ask(f"问{number}")
        stage.turn(f"问{number}").answer(f"答{number}")
        expect(chat.answer).to_have_text(f"答{number}")
        chat.at_rest()
    whole = chat.session_id
    chat.ask("问3")
    stage.turn("问3").say("答3的一半")
    expect(chat.answer).to_have_text("答3的一半")
    other = Chat(chat.page.context.new_page(), chat.address).open()
    other.ask("没有答完的")
    stage.turn("没有答完的").say("一半")
    expect(other.answer).to_have_text("一半")
    server.signal(signal.SIGKILL)
    server.wait()
    kept = stored(server, TURN_KEY)
    assert [row["session_id"] for row in kept] == [whole, whole]
    server = served(stage=stage)
    chat = open_page(server)
    expect(chat.listed).to_have_count(1)
    chat.entry("问1").click()
    expect(chat.answer).to_have_text("答2")
    assert chat.said == [words for row in kept for words in told(row["message_value"])]
    chat.ask("问4")
    turn = stage.turn("问4")
    assert turn.about["query"] == ["问1", "问2"]
    turn.answer("答4")
    expect(chat.answer).to_have_text("答4")
    chat.at_rest()
    assert [row["session_id"] for row in stored(server, TURN_KEY)] == [whole] * 3


def told(turn: dict[str, dict[str, str]]) -> tuple[str, str]:
    return turn["input"]["content"], turn["answer"]["content"]


