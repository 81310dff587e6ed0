"""The admin page in a browser, with scripts and without, on what a service and other programs have stored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from appbuilder.core.conversations import Rating
from appbuilder.core.store import TurnRecord
from appbuilder.ids import new_id
from appbuilder.store.sessions.open_stores import open_store
from tests.browser.browsing import Watch, prepare
from tests.browser.conftest import USUAL
from tests.browser.serving import serve_service
from tests.browser.stage import Stage
from tests.process.server import Server
from tests.process.serving import rows

EVIL = "<img src=https://evil.test/x onerror=alert(1)><script>alert(2)</script>"
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Iterator[Server]:
    with serve_service(tmp_path_factory.mktemp("admin"), stage=stage) as server:
        yield server


@pytest.fixture
def open_admin(browser: Browser, watch: Watch, server: Server) -> Iterator[Open]:
    """Opens a page below /admin in a browser of its own: ``open_admin("/runs", locale="en-US", ...)``."""
    contexts = []

    def open_admin(path: str = "", **options: Any) -> Page:
        context = browser.new_context(**{**USUAL, "locale": "en-US", **options})
        contexts.append(context)
        prepare(context)
        watch.over(context)
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/admin{path}")
        return page

    yield open_admin
    for context in contexts:
        watch.leave(context)
        context.close()


def ask(server: Server, stage: Stage, question: str, *pieces: str, **members: Any) -> str:
    """A turn over POST /chat; returns the session's id."""
    asked: list[Any] = []
    thread = threading.Thread(target=lambda: asked.append(server.chat(question, **members)))
    thread.start()
    stage.turn(question).answer(*pieces)
    thread.join()
    return str(asked[0].json()["result"]["session_id"])


def database(server: Server) -> str:
    return f"sqlite:///{server.folder.parent}/chat.db"


def test_a_session_is_found_read_renamed_and_deleted_without_scripts(
    server: Server, stage: Stage, open_admin: Open
) -> None:
    session_id = ask(server, stage, "How long is the Nile?", "About ", "6,650 km.")
    ask(server, stage, "And the Amazon?", EVIL, session_id=session_id)
    page = open_admin(java_script_enabled=False)
    page.get_by_role("searchbox").fill("NILE")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("Local user")
    page.get_by_role("link", name="How long is the Nile?").click()
    expect(page.locator(".question .said")).to_have_text(["How long is the Nile?", "And the Amazon?"])
    expect(page.locator(".answer .said")).to_have_text(["About 6,650 km.", EVIL])
    page.get_by_text("Rename").click()
    page.get_by_label("New title").fill("Rivers")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Rivers")
    page.get_by_text("Delete", exact=True).click()
    page.get_by_role("button", name="Yes, delete it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sessions")
    expect(page.get_by_role("link", name="Rivers")).to_have_count(0)
    assert all(row["deleted"] for row in rows(database(server), "session_id = :id", id=session_id))


def test_a_run_is_seen_and_stopped(server: Server, stage: Stage, open_admin: Open) -> None:
    session_id = new_id()
    page = open_admin("/runs")
    line = page.locator("tbody tr").filter(has_text=session_id)
    with server.stream("Count to a million", session_id=session_id) as events:
        turn = stage.turn("Count to a million").say("1, 2, ")
        expect(line).to_contain_text("Running")  # the page has looked again by itself
        line.get_by_role("button", name="Stop").click()
        turn.closed()
        assert [event["code"] for event in events][-1] != 0
    page.mouse.move(0, 0)
    expect(line).to_have_count(0)
    page.goto(f"http://127.0.0.1:{server.port}/admin/sessions/{session_id}")
    expect(page.locator(".turn")).to_contain_text("Cut off")
    expect(page.locator(".turn .said").last).to_have_text("1, 2, ")


def test_what_other_programs_stored_is_there_too(server: Server, stage: Stage, open_admin: Open) -> None:
    session_id = ask(server, stage, "Good?", "Yes.")
    store = open_store(database(server))
    asked, answered = {"content": EVIL}, {"content": "fine", "extra": {}}
    store.commit(TurnRecord("of-the-sdk", new_id(), [("query", asked), ("answer", answered)]))
    turn = rows(database(server), "session_id = :id AND message_key = '_appbuilder.turn'", id=session_id)[0]
    store.repository().rate(turn["id"], Rating(good=False, comment=EVIL))
    store.close()
    page = open_admin("/sessions/of-the-sdk")
    expect(page.get_by_role("heading", level=1)).to_have_text(EVIL[:80])
    expect(page.locator(".said")).to_have_text([EVIL, "fine"])
    page.goto(page.url.replace("of-the-sdk", session_id))
    expect(page.locator(".opinion q")).to_have_text(EVIL)
    page.get_by_role("link", name="Sessions", exact=True).click()
    expect(page.locator("tbody tr").filter(has_text="Nobody")).to_have_count(1)


def test_it_speaks_the_readers_language_and_knows_his_clock(
    server: Server, stage: Stage, open_admin: Open
) -> None:
    session_id = ask(server, stage, "时间", "现在")
    page = open_admin(f"/sessions/{session_id}", locale="zh-CN", timezone_id="Asia/Shanghai")
    expect(page.locator(".bar nav a")).to_have_text(["会话", "正在运行", "API 密钥"])
    at = page.locator(".meta time")
    shown = page.evaluate("""at => new Date(at).toLocaleString("sv", {timeZone: "Asia/Shanghai"})""",
                             at.get_attribute("datetime"))
    expect(at).to_have_text(shown)
    expect(page.locator("footer")).to_contain_text("Asia/Shanghai")


def test_with_keys_an_administrator_logs_in_on_the_chat_page(
    tmp_path: Path, browser: Browser, watch: Watch
) -> None:
    store = open_store(f"sqlite:///{tmp_path}/chat.db")
    store.prepare_service()
    secrets = [store.keys().add(name, name, administrator=name == "root")[1] for name in ("root", "ann")]
    store.close()
    watch.allowed += ["status of 401", ": Unauthorized"]
    with (
        serve_service(tmp_path, "echo", AUTH="keys", PAGE="true") as server,
        browser.new_context(**{**USUAL, "locale": "en-US"}) as context,
    ):
        prepare(context)
        watch.over(context)
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/admin")
        page.wait_for_url("**/login")
        page.locator("#email").fill("root")
        page.locator("#password").fill(secrets[0])
        page.keyboard.press("Enter")
        expect(page.locator("#chat-input")).to_be_visible()
        page.goto(f"http://127.0.0.1:{server.port}/admin/keys")
        expect(page.locator("tbody tr")).to_have_count(2)
        assert not any(secret in page.content() for secret in secrets)
        anns = {"Authorization": f"Bearer {secrets[1]}"}
        assert server.request("GET", "/admin/keys", headers=anns).status == 404
        watch.leave(context)
