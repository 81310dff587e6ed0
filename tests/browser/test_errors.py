"""Errors of a component, and what the agent did."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from appbuilder.testing import OpenAIDouble, Reply
from tests.browser.browsing import Chat
from tests.browser.conftest import OpenPage, Serve
from tests.browser.serving import TURN_KEY, serve_page, stored
from tests.browser.stage import Stage
from tests.process.server import Server

SECRET = "secret-of-the-component"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Iterator[Server]:
    with serve_page(tmp_path_factory.mktemp("errors"), stage=stage) as server:
        yield server


@pytest.fixture(scope="module")
def debugged(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Iterator[Server]:
    with serve_page(tmp_path_factory.mktemp("debugged"), stage=stage, page={"debug": True}) as server:
        yield server


def failed(chat: Chat, stage: Stage) -> str:
    """A turn that says something and fails; returns the request's id, as the page tells it."""
    chat.ask("会出错")
    turn = stage.turn("会出错").say("说了一点")
    expect(chat.answer).to_have_text("说了一点")
    turn.fail(SECRET)
    expect(chat.answers).to_have_count(2)
    chat.at_rest()
    return request_id(chat)


def request_id(chat: Chat) -> str:
    found = re.search("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", chat.answer.inner_text())
    assert found, chat.answer.inner_text()
    return found[0]


def test_an_error_is_one_line_with_a_request_id(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server)
    told = failed(chat, stage)
    [row] = stored(server, TURN_KEY, session_id=chat.session_id)
    assert told == row["request_id"]
    assert told in server.log, "the line leads to the log"
    assert SECRET in server.log
    line = chat.answer.inner_text().strip()
    assert line.startswith("组件出错了")
    assert "\n" not in line
    for words in (SECRET, "Traceback", "RuntimeError"):
        expect(chat.page.get_by_text(words)).to_have_count(0)
    chat.reload()
    expect(chat.answers).to_have_count(2)
    assert chat.answer.inner_text().strip() == line
    expect(chat.answers.first).to_have_text("说了一点")
    assert row["message_value"]["state"] == "failed"
    assert SECRET not in str(row["message_value"])


def test_an_error_in_english(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server, locale="en-US")
    failed(chat, stage)
    expect(chat.answer).to_contain_text("The component failed")
    expect(chat.answer).to_contain_text("request id")


def test_after_an_error_the_conversation_goes_on(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server)
    failed(chat, stage)
    chat.ask("再来")
    following = stage.turn("再来")
    assert following.about["query"] == []
    following.answer("这次好了")
    expect(chat.answer).to_have_text("这次好了")


def test_in_debug_the_traceback_is_shown(debugged: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(debugged)
    failed(chat, stage)
    trace = chat.answer.locator("pre")
    expect(trace).to_contain_text("Traceback (most recent call last)")
    expect(trace).to_contain_text(f"RuntimeError: {SECRET}")


def test_model_calls_fold_open(served: Serve, open_page: OpenPage) -> None:
    with OpenAIDouble() as double:
        usage = {"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18}
        double.default = Reply(["模型的", "回答"], usage=usage)
        env = {"MODEL_NAME": "openai/double", "OPENAI_BASE_URL": double.base_url, "OPENAI_API_KEY": "key"}
        server = served("asking", page={"debug": True}, **env)
        chat = open_page(server)
        chat.ask("一加一")
        expect(chat.answer).to_have_text("模型的回答")
        chat.at_rest()
        for _ in ("at once", "after a reload"):
            expect(chat.folds).to_have_count(1)
            expect(chat.folds).to_contain_text(re.compile(r"double · 18 \S+ · \d+ ms"))
            expect(chat.folds.locator("pre")).to_have_count(0)
            chat.folds.get_by_role("button").first.click()
            expect(chat.folds.locator("pre")).to_have_count(2)
            expect(chat.folds.locator("pre").first).to_contain_text("请回答：一加一")
            expect(chat.folds.locator("pre").last).to_contain_text("模型的回答")
            chat.reload()


def test_without_debug_there_are_no_model_calls(served: Serve, open_page: OpenPage) -> None:
    with OpenAIDouble() as double:
        env = {"MODEL_NAME": "openai/double", "OPENAI_BASE_URL": double.base_url, "OPENAI_API_KEY": "key"}
        server = served("asking", **env)
        chat = open_page(server)
        chat.ask("一加一")
        expect(chat.answer).to_have_text("请回答：一加一")
        chat.at_rest().reload()
        expect(chat.answer).to_have_text("请回答：一加一")
        expect(chat.folds).to_have_count(0)
