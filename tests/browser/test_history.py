"""Back and forward, as on any site."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.browsing import Chat
from tests.browser.conftest import OpenPage
from tests.browser.serving import serve_page
from tests.browser.stage import Stage
from tests.process.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Iterator[Server]:
    with serve_page(tmp_path_factory.mktemp("history"), stage=stage) as server:
        yield server


def answered(chat: Chat, stage: Stage, question: str) -> str:
    """One whole turn; returns the session's id."""
    chat.ask(question)
    stage.turn(question).answer(f"{question}!")
    expect(chat.answer).to_have_text(f"{question}!")
    chat.at_rest()
    return chat.session_id


def test_back_and_forward(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server)
    page = chat.page
    one = answered(chat, stage, "one")
    chat.new()
    two = answered(chat, stage, "two")
    chat.entry("one").click()
    expect(chat.answer).to_have_text("one!")
    for go, session_id, answer in (
        (page.go_back, two, "two!"), (page.go_back, one, "one!"), (page.go_forward, two, "two!"),
        (page.go_forward, one, "one!"), (page.go_back, two, "two!"),
    ):  # fmt: skip
        go()
        expect(chat.answers).to_have_text([answer])
        assert chat.session_id == session_id
    page.go_back()
    page.go_back()
    assert not page.url.startswith(chat.address), "back leaves the site where it was entered"


def test_back_to_a_page_without_messages(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server)
    answered(chat, stage, "asked")
    chat.new()
    chat.entry("asked").click()
    expect(chat.answer).to_have_text("asked!")
    chat.page.go_back()
    expect(chat.page.locator("#welcome-words")).to_be_visible()
    expect(chat.questions).to_have_count(0)
    chat.ready()
    chat.page.go_forward()
    expect(chat.answer).to_have_text("asked!")


def test_back_after_a_deletion(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server)
    kept = answered(chat, stage, "kept")
    chat.new()
    gone = answered(chat, stage, "gone")
    chat.choose("gone", "delete-thread")
    chat.page.get_by_role("alertdialog").get_by_role("button").last.click()
    expect(chat.entry("gone")).to_have_count(0)
    expect(chat.page.locator("#welcome-words")).to_be_visible()
    chat.page.go_back()
    expect(chat.answer).to_have_text("kept!")
    assert chat.session_id == kept
    chat.page.goto(f"{chat.address}/thread/{gone}")
    expect(chat.page.locator("#welcome-words")).to_be_visible()
    chat.page.go_back()
    expect(chat.answer).to_have_text("kept!")
