"""Who sees what: users with passwords, visitors, an administrator; and one does not wait for another."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from werkzeug.security import generate_password_hash

from tests.browser.browsing import STRANGER, Chat, Watch
from tests.browser.conftest import OpenPage, Serve
from tests.browser.serving import database, serve_page
from tests.browser.stage import Stage
from tests.process import serving
from tests.process.server import Server
from tests.process.serving import rows

USERS = {"小红": "红的密码", "bob": generate_password_hash("bob's"), "admin": "root"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("users")
    with serving.serve("scripted", folder) as api:
        api.chat("从接口来的", session_id="over-the-api")
    with serve_page(folder, "echo", page={"users": USERS, "administrators": ["admin"]}) as server:
        yield server


def log_in(chat: Chat, name: str, password: str) -> Chat:
    """Fills the login page in."""
    chat.page.goto(chat.address)
    chat.page.locator("#email").fill(name)
    chat.page.locator("#password").fill(password)
    chat.page.locator("button[type=submit]").click()
    return chat


def ask(chat: Chat, words: str) -> str:
    """One whole turn of the echo; returns the session's id."""
    chat.ask(words)
    expect(chat.answer).to_have_text(words)
    chat.at_rest()
    return chat.session_id


def test_users_log_in_and_each_sees_his_own(
    server: Server, open_page: OpenPage, watch: Watch
) -> None:
    watch.allowed += ["status of 401", ": Unauthorized"]
    red = open_page(server, load=False)
    red.page.goto(red.address)
    expect(red.page).to_have_url(re.compile("/login"))
    expect(red.box).to_have_count(0)
    log_in(red, "小红", "bob's")
    expect(red.page.get_by_role("alert")).to_be_visible()
    log_in(red, "小红", "红的密码").ready()
    mine = ask(red, "小红的问题")

    bob = log_in(open_page(server, load=False), "bob", "bob's").ready()
    ask(bob, "bob's question")
    expect(bob.listed).to_have_text(["bob's question"])
    bob.page.goto(f"{bob.address}/thread/{mine}")
    bob.ready()
    expect(bob.answers).to_have_count(0)
    expect(bob.page.get_by_text("小红的问题")).to_have_count(0)

    admin = log_in(open_page(server, load=False), "admin", "root").ready()
    expect(admin.listed).to_have_count(1)
    admin.listed.first.click()
    expect(admin.answer).to_have_text("从接口来的")
    assert admin.session_id == "over-the-api"

    red.reload()
    expect(red.listed).to_have_text(["小红的问题"])
    tab = Chat(red.page.context.new_page(), red.address).open()
    red.page.locator("#user-nav-button").click()
    expect(red.page.get_by_role("menu")).to_contain_text("小红")
    red.page.get_by_role("menuitem").click()
    expect(red.page).to_have_url(re.compile("/login"))
    expect(tab.page).to_have_url(re.compile("/login"))
    red.page.goto(f"{red.address}/thread/{mine}")
    expect(red.page).to_have_url(re.compile("/login"))
    expect(red.page.get_by_text("小红的问题")).to_have_count(0)


def test_visitors_and_who_comes_through_a_proxy_are_not_the_local_user(
    served: Serve, open_page: OpenPage
) -> None:
    server = served("echo")
    local = open_page(server)
    ask(local, "本机的问题")
    visitors = [open_page(server, host=STRANGER) for _ in "12"]
    for number, visitor in enumerate(visitors):
        expect(visitor.listed).to_have_count(0)
        ask(visitor, f"访客{number}的问题")
    for number, visitor in enumerate(visitors):
        visitor.reload()
        expect(visitor.listed).to_have_text([f"访客{number}的问题"])
    local.reload()
    expect(local.listed).to_have_text(["本机的问题"])
    forwarded = open_page(server, extra_http_headers={"X-Forwarded-For": "203.0.113.7"})
    expect(forwarded.listed).to_have_count(0)
    cookies = forwarded.page.context.cookies()
    assert any(cookie["name"].startswith("appbuilder_") and cookie["httpOnly"] for cookie in cookies)
    keys = {row["message_key"] for row in rows(database(server)) if ".session." in row["message_key"]}
    assert len(keys) == 3


def test_one_users_blocking_answer_leaves_anothers_page_alive(
    served: Serve, stage: Stage, open_page: OpenPage
) -> None:
    server = served("deaf", stage=stage)
    slow, quick = open_page(server), open_page(server, host=STRANGER)
    slow.ask("慢的")
    held = stage.turn("慢的")
    # Until the gate is opened one thread of the process stands in a read that nothing breaks off.
    quick.ask("快的")
    stage.turn("快的").end("快的好了")
    expect(quick.answer).to_have_text("快的好了")
    quick.reload()
    expect(quick.answer).to_have_text("快的好了")
    expect(slow.answers).to_have_count(0)
    held.end("慢的好了")
    expect(slow.answer).to_have_text("慢的好了")
