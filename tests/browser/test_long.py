"""A long conversation: the newest turns at once, the rest behind a link."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from playwright.sync_api import expect

from appbuilder import clock
from appbuilder.core.conversations import StoredRow
from appbuilder.core.store import TURN_KEY
from appbuilder.settings import Settings
from appbuilder.store.databases import urls
from appbuilder.store.sessions.session_store import SqlStore
from tests.browser.browsing import Chat
from tests.browser.conftest import OpenPage
from tests.browser.serving import serve_page
from tests.browser.stage import Stage
from tests.process.server import Server

LENGTHS = {"short": 50, "long": 1000}
WORDS = "Some words that fill a line, and **bold** ones. " * 9
SLACK = 1.0
"""Seconds by which two measurements of the same differ on a machine that does other things too."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("long")
    store = SqlStore(urls.parse(f"sqlite:///{folder}/chat.db"), Settings())
    store.prepare_conversations()
    for name, length in LENGTHS.items():
        store.repository().import_rows(name, "local", name, [turn(name, number) for number in range(length)])
    giant = "| a | b |\n|---|---|\n" + "| one | two |\n" * 60_000
    store.repository().import_rows("giant", "local", "giant", [turn("giant", 0, giant)])
    store.close()
    with serve_page(folder, stage=stage) as server:
        yield server


def turn(name: str, number: int, words: str = WORDS) -> StoredRow:
    at = datetime(2026, 1, 1) + timedelta(minutes=number)
    said = {"input": {"content": f"Q{number}. {WORDS}"}, "answer": {"content": f"A{number}. {words}"}}
    return StoredRow(f"{name}-{number}", f"{name}-r{number}", TURN_KEY, {**said, "state": "complete"}, at)


def timed(chat: Chat, stage: Stage, name: str) -> tuple[float, float]:
    """Seconds until a conversation is shown, and from a question to the end of its answer."""
    began = clock.monotonic()
    chat.page.goto(f"{chat.address}/thread/{name}")
    expect(chat.questions).not_to_have_count(0)
    chat.ready()
    shown = clock.monotonic()
    chat.ask("next")
    stage.turn("next").answer("the ", "answer")
    expect(chat.answer).to_have_text("the answer")
    chat.at_rest()
    return shown - began, clock.monotonic() - shown


def test_a_thousand_turns_take_what_fifty_take(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server)
    timed(chat, stage, "short")
    short = [timed(chat, stage, "short") for _ in range(2)]
    long = [timed(chat, stage, "long") for _ in range(2)]
    for which in (0, 1):
        assert min(each[which] for each in long) <= 1.5 * min(each[which] for each in short) + SLACK


def test_the_rest_is_behind_a_link(server: Server, open_page: OpenPage) -> None:
    chat = open_page(server)
    chat.open("/thread/long")
    expect(chat.questions).to_have_count(50)
    link = chat.page.get_by_role("link", name="更早的消息")
    first = re.match(r"Q(\d+)", chat.questions.first.inner_text().strip())
    assert first is not None
    with chat.page.context.expect_page() as opened:
        link.click()
    earlier = opened.value
    expect(earlier.locator("article")).to_have_count(50)
    expect(earlier.locator("article .question .words").last).to_contain_text(f"Q{int(first[1]) - 1}.")
    earlier.get_by_role("link", name="更早的消息").click()
    expect(earlier.locator("article .question .words").last).to_contain_text(f"Q{int(first[1]) - 51}.")
    earlier.get_by_role("link", name="返回对话").click()
    expect(earlier.locator('[data-step-type="user_message"]')).to_have_count(50)


def test_of_a_giant_table_its_beginning_is_shown(server: Server, open_page: OpenPage) -> None:
    chat = open_page(server)
    chat.open("/thread/giant")
    expect(chat.answers.first).to_contain_text("A0.")
    link = chat.page.get_by_role("link", name="查看全文")
    whole = chat.page.request.get(f"{chat.address}{link.get_attribute('href')}")
    assert whole.text().count("| one | two |") == 60_000
