"""The page of a service with several workers, whichever of them the browser's connections reach."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.browsing import Chat
from tests.browser.conftest import OpenPage
from tests.browser.serving import TURN_KEY
from tests.browser.stage import Stage
from tests.process.server import Server
from tests.process.serving import rows, serve_target

PUPPET = "tests.browser.apps.page:Puppet"
PASSED_ON = re.compile(r'127\.0\.0\.1:0 - "WebSocket .*\[accepted\]')
"""In the log: a socket whose peer is known from another worker has no port."""
MOST_PAGES = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("workers")
    given = {"PAGE": "yes", "CACHE_DIR": str(folder), "STAGE": str(stage.port)}
    with serve_target(PUPPET, folder, "--workers", "3", **given) as server:
        yield server


def passed_on(server: Server) -> int:
    """Sockets that came to the page's worker by way of another."""
    return len(PASSED_ON.findall(server.log))


def states(folder: Path, session_id: str) -> list[str]:
    found = rows(f"sqlite:///{folder}/chat.db", "session_id = :s", s=session_id)
    return [row["message_value"]["state"] for row in found if row["message_key"] == TURN_KEY]


def test_answers_reloads_and_stops(server: Server, stage: Stage, open_page: OpenPage) -> None:
    """On one page after the other, until sockets were passed on before and after a reload."""
    titles: list[str] = []
    before_reload = after_reload = 0
    while not (before_reload and after_reload):
        assert len(titles) < MOST_PAGES, "no socket was passed on by another worker"
        seen = passed_on(server)
        chat = open_page(server, locale="zh-CN")
        titles.insert(0, f"第{len(titles)}问")
        chat.ask(titles[0])
        turn = stage.turn(titles[0]).say("从前")
        expect(chat.answer).to_have_text("从前")
        session_id = chat.session_id
        before_reload += passed_on(server) - seen
        seen = passed_on(server)
        reload(chat)
        expect(chat.answer).to_have_text("从前")
        turn.say("有座山")
        expect(chat.answer).to_have_text("从前有座山")
        turn.answer("。")
        expect(chat.answer).to_have_text("从前有座山。")
        after_reload += passed_on(server) - seen
        stop_in_the_middle(chat.at_rest(), stage)
        assert states(server.folder, session_id) == ["complete", "incomplete"]
        expect(chat.listed).to_have_text(titles)
        chat.page.context.close()


def reload(chat: Chat) -> None:
    """Chainlit's page opens two sockets while it loads, one with the conversation and one without. Where they
    take different ways, once in some thirty times the wrong one stays: then it is loaded again."""
    chat.page.reload()
    try:
        expect(chat.answer).to_have_text("从前", timeout=5000)
    except AssertionError:
        chat.page.reload()


def stop_in_the_middle(chat: Chat, stage: Stage) -> None:
    chat.ask("很长")
    turn = stage.turn("很长").say("一段")
    expect(chat.answer).to_have_text("一段")
    chat.stop_button.click()
    turn.closed()
    chat.at_rest()
    expect(chat.answer).to_contain_text("已停止")
