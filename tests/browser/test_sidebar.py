"""The side bar: conversations are listed, opened, renamed, deleted, found, and answers rated."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from appbuilder.core.conversations import FEEDBACK_KEY
from tests.browser.browsing import Chat
from tests.browser.conftest import OpenPage, Serve
from tests.browser.serving import TURN_KEY, database, serve_page, stored
from tests.browser.stage import Stage
from tests.process import rawhttp, serving
from tests.process.server import Server, free_port
from tests.process.serving import eventually, rows

SDK_FILES = Path(__file__).parents[1] / "store" / "data"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Iterator[Server]:
    """For tests that look at one conversation only."""
    with serve_page(tmp_path_factory.mktemp("shared"), stage=stage) as server:
        yield server


def answered(chat: Chat, stage: Stage, question: str, answer: str) -> str:
    """One whole turn; returns the session's id."""
    chat.ask(question)
    stage.turn(question).answer(answer)
    expect(chat.answer).to_have_text(answer)
    chat.at_rest()
    return chat.session_id


def test_list_open_search_rename_and_delete(served: Serve, stage: Stage, open_page: OpenPage) -> None:
    server = served(stage=stage)
    chat = open_page(server)
    ids = {}
    for question in ("海淀区的面积", "Length of the Nile", "怎么学法语"):
        ids[question] = answered(chat, stage, question, f"答：{question}")
        chat.new()
    expect(chat.listed).to_have_text(["怎么学法语", "Length of the Nile", "海淀区的面积"])

    chat.entry("海淀区的面积").click()
    expect(chat.answer).to_have_text("答：海淀区的面积")
    chat.ask("还有呢")
    turn = stage.turn("还有呢")
    assert turn.about["query"] == ["海淀区的面积"]
    turn.answer("没有了")
    expect(chat.answer).to_have_text("没有了")
    chat.at_rest().reload()
    expect(chat.listed).to_have_text(["海淀区的面积", "怎么学法语", "Length of the Nile"])
    assert chat.said == ["海淀区的面积", "答：海淀区的面积", "还有呢", "没有了"]

    for words, found in {"nile": "Length of the Nile", "法语": "怎么学法语", "海淀": "海淀区的面积"}.items():
        chat.page.locator("#search-chats-button").click()
        chat.page.get_by_role("dialog").locator("input").fill(words)
        hits = chat.page.get_by_role("dialog").get_by_role("option")
        expect(hits).to_have_text([found])
        hits.click()
        expect(chat.answer).to_have_text("没有了" if "海淀" in words else f"答：{found}")
        assert chat.session_id == ids[found]

    chat.choose("Length of the Nile", "rename-thread")
    chat.page.locator("#name").fill("尼罗河有多长")
    chat.page.get_by_role("dialog").get_by_role("button", name="确认").click()
    expect(chat.entry("尼罗河有多长")).to_have_count(1)
    chat.reload()
    expect(chat.entry("尼罗河有多长")).to_have_count(1)
    expect(chat.entry("Length of the Nile")).to_have_count(0)

    gone = ids["怎么学法语"]
    before = rows(database(server), "session_id = :id", id=gone)
    assert before
    chat.choose("怎么学法语", "delete-thread")
    chat.page.get_by_role("alertdialog").get_by_role("button").last.click()
    expect(chat.entry("怎么学法语")).to_have_count(0)
    eventually(lambda: all(row["deleted"] for row in rows(database(server), "session_id = :id", id=gone)))
    assert len(rows(database(server), "session_id = :id", id=gone)) >= len(before)
    chat.open()
    expect(chat.entry("尼罗河有多长")).to_have_count(1)
    expect(chat.entry("怎么学法语")).to_have_count(0)


def test_a_deleted_conversation_cannot_be_opened_and_is_forgotten_by_the_component(
    shared: Server, stage: Stage, open_page: OpenPage
) -> None:
    chat = open_page(shared)
    gone = answered(chat, stage, "忘了我", "好")
    chat.choose("忘了我", "delete-thread")
    chat.page.get_by_role("alertdialog").get_by_role("button").last.click()
    expect(chat.entry("忘了我")).to_have_count(0)
    remembered = {"do": "history", "key": "query"}
    with serving.serve("scripted", shared.folder.parent) as api:
        assert api.chat(remembered, session_id=gone).content == []
    chat.page.goto(f"{chat.address}/thread/{gone}")
    chat.ready()
    expect(chat.answers).to_have_count(0)


def test_a_conversation_begun_over_chat_is_opened_and_goes_on(served: Serve, open_page: OpenPage) -> None:
    api = free_port()
    server = served("echo", API_PORT=str(api))
    eventually(lambda: listens(api))
    said = [rawhttp.chat(api, {"message": text, "session_id": "api-session"}).content
            for text in ("从接口开始", "接口第二句")]
    assert said == ["从接口开始", "从接口开始、接口第二句"]
    chat = open_page(server)
    chat.entry("从接口开始").click()
    expect(chat.questions).to_have_text(["从接口开始", "接口第二句"])
    expect(chat.answers).to_have_text(said)
    assert chat.session_id == "api-session"
    chat.ask("在页面上继续")
    said.append("从接口开始、接口第二句、在页面上继续")
    expect(chat.answers).to_have_text(said)
    chat.at_rest().reload()
    expect(chat.questions).to_have_text(["从接口开始", "接口第二句", "在页面上继续"])
    expect(chat.answers).to_have_text(said)
    again = rawhttp.chat(api, {"message": "回到接口", "session_id": "api-session"})
    assert again.content == f"{said[-1]}、回到接口"


def listens(port: int) -> bool:
    """Whether somebody does."""
    with contextlib.suppress(OSError):
        return rawhttp.get(port, "/health").status == 200
    return False


@pytest.mark.parametrize("name", ["sdk-utc.db", "sdk-shanghai.db"])
def test_a_database_of_the_sdk(
    tmp_path: Path, served: Serve, stage: Stage, open_page: OpenPage, name: str
) -> None:
    shutil.copyfile(SDK_FILES / name, tmp_path / "chat.db")
    kept = rows(f"sqlite:///{tmp_path}/chat.db", "session_id = 'sdk-session-1'")
    said = [row["message_value"]["content"] for row in kept if row["message_key"] == "query"]
    server = served(stage=stage)
    chat = open_page(server)
    expect(chat.listed).to_have_count(2)
    chat.open("/thread/sdk-session-1")
    expect(chat.questions).to_have_count(len(said))
    assert [text.strip() for text in chat.questions.all_inner_texts()] == said
    expect(chat.answers).to_have_count(len(said))
    chat.ask("接着说")
    turn = stage.turn("接着说")
    assert turn.about["query"] == said
    turn.answer("接着了")
    expect(chat.answer).to_have_text("接着了")
    chat.at_rest().reload()
    expect(chat.questions).to_have_count(len(said) + 1)


def test_thumbs_with_a_comment_changed_and_taken_back(
    shared: Server, stage: Stage, open_page: OpenPage
) -> None:
    def ratings() -> list[tuple[bool, str]]:
        found = stored(shared, FEEDBACK_KEY, session_id=session_id)
        return [(row["message_value"]["good"], row["message_value"]["comment"]) for row in found]

    def send(comment: str) -> None:
        dialog = chat.page.get_by_role("dialog")
        dialog.locator("textarea").fill(comment)
        dialog.locator("#submit-feedback").click()
        expect(dialog).to_have_count(0)

    chat = open_page(shared)
    session_id = answered(chat, stage, "评价一下", "请评价")
    chat.thumb("positive").click()
    send("很好")
    expect(chat.answer.locator(".positive-feedback-on")).to_have_count(1)
    eventually(lambda: ratings() == [(True, "很好")])
    [turn] = stored(shared, TURN_KEY, session_id=session_id)
    [rating] = stored(shared, FEEDBACK_KEY, session_id=session_id)
    assert rating["message_value"]["turn"] == turn["id"]

    chat.reload()
    expect(chat.answer.locator(".positive-feedback-on")).to_have_count(1)
    chat.answer.locator("button:has(svg.lucide-message-circle)").click()
    expect(chat.page.get_by_role("dialog").locator("textarea")).to_have_value("很好")
    chat.page.keyboard.press("Escape")

    chat.thumb("negative").click()
    send("不好")
    expect(chat.answer.locator(".negative-feedback-on")).to_have_count(1)
    eventually(lambda: ratings() == [(False, "不好")])
    chat.reload()
    expect(chat.answer.locator(".negative-feedback-on")).to_have_count(1)
    expect(chat.answer.locator(".positive-feedback-on")).to_have_count(0)

    chat.thumb("negative").click()
    expect(chat.answer.locator(".negative-feedback-on")).to_have_count(0)
    eventually(lambda: ratings() == [])
    chat.reload()
    expect(chat.thumb("positive")).to_be_visible()
    expect(chat.answer.locator(".negative-feedback-on, .positive-feedback-on")).to_have_count(0)


def test_a_conversation_is_listed_while_its_first_answer_is_under_way(
    shared: Server, stage: Stage, open_page: OpenPage
) -> None:
    chat = open_page(shared)
    chat.ask("刚刚开始")
    turn = stage.turn("刚刚开始").say("嗯")
    expect(chat.entry("刚刚开始")).to_have_count(1)
    other = Chat(chat.page.context.new_page(), chat.address).open()
    other.entry("刚刚开始").click()
    expect(other.answer).to_have_text("嗯")
    turn.answer("好")
    for tab in (chat, other):
        expect(tab.answer).to_have_text("嗯好")
