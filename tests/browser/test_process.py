"""What the page's process leaves behind, and how it ends."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.browsing import Watch
from tests.browser.conftest import OpenPage, Serve
from tests.browser.serving import TURN_KEY, stored
from tests.browser.stage import Stage
from tests.process.server import Server

ENDED = (0, -signal.SIGTERM)


def in_the_cache(server: Server) -> list[str]:
    """Folders of pages."""
    return [path.name for path in (server.folder.parent / "cache").glob("page-*")]


def test_nothing_is_written_into_the_working_directory(
    served: Serve, open_page: OpenPage, watch: Watch
) -> None:
    watch.allow_silence()
    server = served("echo", DATABASE="sqlite:///here.db")
    chat = open_page(server)
    chat.ask("有什么")
    expect(chat.answer).to_have_text("有什么")
    chat.at_rest()
    assert len(in_the_cache(server)) == 1
    found = {path.name for path in server.folder.iterdir()}
    assert "here.db" in found
    assert not {name for name in found if not name.startswith("here.db")} - {"server.log"}
    assert server.terminate() in ENDED
    assert {path.name for path in server.folder.iterdir()} == {"here.db", "server.log"}
    assert in_the_cache(server) == []


def test_a_readme_of_the_users_is_shown(
    tmp_path: Path, served: Serve, open_page: OpenPage
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "chainlit.md").write_text("# 关于木偶\n\n它会说话。\n", "utf-8")
    server = served("echo")
    chat = open_page(server)
    chat.page.locator("#readme-button").click()
    expect(chat.page.get_by_role("dialog")).to_contain_text("它会说话。")
    assert {path.name for path in server.folder.iterdir()} == {"chainlit.md", "server.log"}


def test_without_a_readme_there_is_none(served: Serve, open_page: OpenPage) -> None:
    chat = open_page(served("echo"))
    expect(chat.page.locator("#theme-toggle")).to_be_visible()
    expect(chat.page.locator("#readme-button")).to_have_count(0)


def test_on_sigterm_a_turn_may_come_to_its_end(
    served: Serve, stage: Stage, open_page: OpenPage, watch: Watch
) -> None:
    watch.allow_silence()
    server = served(stage=stage)
    chat = open_page(server)
    chat.ask("还在说")
    turn = stage.turn("还在说").say("一半")
    expect(chat.answer).to_have_text("一半")
    server.signal(signal.SIGTERM)
    turn.say("，另一半")
    expect(chat.answer).to_have_text("一半，另一半")
    assert server.process.poll() is None
    turn.end()
    assert server.wait() in ENDED
    [row] = stored(server, TURN_KEY)
    assert row["message_value"]["state"] == "complete"
    assert row["message_value"]["answer"]["content"] == "一半，另一半"
    assert in_the_cache(server) == []


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT"])
def test_a_turn_that_does_not_end_in_time_is_kept_and_marked(
    served: Serve, stage: Stage, open_page: OpenPage, watch: Watch, how: str
) -> None:
    watch.allow_silence()
    server = served(stage=stage, DRAIN_TIMEOUT="0.5")
    chat = open_page(server)
    chat.ask("还在说")
    turn = stage.turn("还在说").say("一半")
    expect(chat.answer).to_have_text("一半")
    server.signal(signal.Signals[how])
    turn.closed()
    assert server.wait() in ENDED
    [row] = stored(server, TURN_KEY)
    assert row["message_value"]["state"] == "incomplete"
    assert row["message_value"]["answer"]["content"] == "一半"
    assert in_the_cache(server) == []


def test_folders_of_pages_that_were_killed_are_swept(served: Serve) -> None:
    first = served("echo")
    [left] = in_the_cache(first)
    first.kill()
    assert in_the_cache(first) == [left]
    second = served("echo")
    assert left not in in_the_cache(second)
    third = served("echo")
    assert len(in_the_cache(third)) == 2
    assert {each.request("GET", "/").status for each in (second, third)} == {200}
