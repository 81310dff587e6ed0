"""What a reader meets on the page: welcome, menu, names of controls, directions, titles."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.browsing import Chat, Watch
from tests.browser.conftest import OpenPage
from tests.browser.serving import serve_service
from tests.browser.stage import Stage
from tests.process.server import Server

ARABIC = "مرحبا بالعالم. Hello!"
NO_TITLE = "`DialogContent` requires a `DialogTitle`"
"""What Chainlit's side bar says of itself on a small screen."""

UNNAMED = """() => [...document.querySelectorAll("button, a, [role=button], [role=menuitem], textarea")]
    .filter(each => each.offsetParent !== null && each.dataset.sidebar !== 'rail')
    .filter(each => !each.getAttribute('aria-label') && !each.innerText.trim() && !each.labels?.length)
    .map(each => each.outerHTML.slice(0, 200))"""
SMALL = """() => [...document.querySelectorAll('button, [role=button], [role=menuitem], textarea')]
    .filter(each => each.offsetParent !== null && each.dataset.sidebar !== 'rail')
    .map(each => [each.outerHTML.slice(0, 120), each.getBoundingClientRect()])
    .filter(([, box]) => box.width < 44 || box.height < 44)
    .map(([html, box]) => [html, box.width, box.height])"""
DIRECTION = "element => getComputedStyle(element).direction"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Iterator[Server]:
    with serve_service(tmp_path_factory.mktemp("reading"), stage=stage, PAGE="yes") as server:
        yield server


def answered(chat: Chat, stage: Stage, question: str, answer: str) -> None:
    chat.ask(question)
    stage.turn(question).answer(answer)
    chat.at_rest()
    expect(chat.answer).not_to_have_text("")


@pytest.mark.parametrize(
    ("locale", "sentence", "nothing"),
    [
        ("zh-CN", "输入消息，开始对话。", "没有对话"),
        ("en-US", "Write a message to begin.", "No conversations"),
    ],
)
def test_a_page_without_messages(
    server: Server, open_page: OpenPage, locale: str, sentence: str, nothing: str
) -> None:
    chat = open_page(server, locale=locale)
    page = chat.page
    expect(page.get_by_role("heading", name="木偶")).to_be_visible()
    expect(page.locator("#welcome-words p")).to_have_text(sentence)
    expect(page.locator("#starters button")).to_have_count(2)
    box = page.locator("#welcome-screen .logo").bounding_box()
    assert box is not None
    assert box["height"] <= 64
    assert page.evaluate("document.documentElement.lang") == locale
    assert page.evaluate("document.documentElement.dir") == "ltr"
    page.locator("#search-chats-button").click()
    expect(page.get_by_role("dialog")).to_contain_text(nothing)
    page.keyboard.press("Escape")


def test_the_menu_leads_on_and_does_not_offer_to_sign_out(server: Server, open_page: OpenPage) -> None:
    chat = open_page(server, locale="en-US")
    page = chat.page
    page.locator("#user-nav-button").focus()
    page.keyboard.press("Enter")
    items = page.get_by_role("menuitem")
    expect(items).to_have_text(["API reference", "Administration"])
    expect(items.first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(items.last).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin")
    chat.open()
    page.locator("#user-nav-button").click()
    expect(items).to_have_text(["API reference", "Administration"])  # drawn a moment after the menu
    items.first.click()
    page.wait_for_url("**/docs")


def test_text_runs_as_its_letters_do(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server, locale="en-US")
    table, code = "| ا | b |\n|---|---|\n| a | b |", "```\nx = 'ا'\n```"
    answer = f"# عنوان\n\n{ARABIC}\n\n- واحد\n\nEnglish.\n\n{table}\n\n{code}\n"
    chat.write(ARABIC)
    assert chat.box.evaluate(DIRECTION) == "rtl"
    chat.page.keyboard.press("Enter")
    stage.turn(ARABIC).answer(answer)
    chat.at_rest()
    expect(chat.page.locator(".message-content")).to_have_count(2)
    expect(chat.page.locator(".message-content[dir=auto]")).to_have_count(2)
    for selector, direction in (
        ("h1", "rtl"), ("ul", "rtl"), ("li", "rtl"), ("table", "rtl"), ("code", "ltr"),
        ("[role=article]:has-text('مرحبا')", "rtl"), ("[role=article]:has-text('English')", "ltr"),
    ):  # fmt: skip
        found = chat.answer.locator(selector).first
        expect(found).to_have_css("direction", direction)
    expect(chat.questions.locator("[dir=auto] >> text=مرحبا").first).to_have_css("direction", "rtl")
    chat.page.goto(f"{chat.address}/admin/sessions/{chat.session_id}")
    said = chat.page.locator(".said", has_text="مرحبا")
    expect(said.first).to_have_css("direction", "rtl")


def test_a_page_in_arabic_is_laid_out_from_the_right(
    server: Server, stage: Stage, open_page: OpenPage
) -> None:
    chat = open_page(server, locale="ar-SA")
    html = chat.page.locator("html")
    expect(html).to_have_attribute("lang", "ar-SA")
    expect(html).to_have_attribute("dir", "rtl")
    side = chat.page.locator("#new-chat-button").first.bounding_box()
    box = chat.box.bounding_box()
    assert side is not None
    assert box is not None
    assert side["x"] > box["x"] + box["width"]


def test_every_control_has_a_name_and_answers_are_announced(
    server: Server, stage: Stage, open_page: OpenPage
) -> None:
    chat = open_page(server, locale="en-US")
    page = chat.page
    chat.ask("announced?")
    turn = stage.turn("announced?").say("```\ncode\n```\n")
    expect(page.locator("#page-status")).to_have_text("Answering")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    turn.answer("Heard.")
    chat.at_rest()
    expect(page.get_by_role("status").and_(page.locator("#page-status"))).to_contain_text("Heard.")
    chat.thumb("positive").click()
    expect(page.get_by_role("dialog").get_by_role("textbox", name="Comment")).to_be_visible()
    assert page.evaluate(UNNAMED) == []
    page.keyboard.press("Escape")
    for name in ("Copy", "Helpful", "Not helpful", "New conversation", "Search conversations", "User menu"):
        expect(page.get_by_role("button", name=name, exact=True).first).to_be_visible()
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()
    expect(page.get_by_role("button", name="Options: announced?", exact=True)).to_have_count(1)
    assert page.evaluate(UNNAMED) == []


def test_a_finger_hits_every_control(server: Server, stage: Stage, open_page: OpenPage, watch: Watch) -> None:
    chat = open_page(
        server, locale="en-US", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    watch.allowed.append(NO_TITLE)
    page = chat.page
    assert page.evaluate(SMALL) == []
    answered(chat, stage, "hit me", "`x`\n\n```\ncode\n```\n\nHit.")
    expect(page.get_by_role("button", name="Helpful", exact=True)).to_be_visible()
    assert page.evaluate(SMALL) == []
    chat.open()
    page.locator("#sidebar-trigger-button").click()
    expect(page.get_by_role("dialog", name="Conversations")).to_be_visible()
    expect(page.get_by_role("button", name="Options: hit me", exact=True)).to_be_visible()
    assert page.evaluate(SMALL) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_title_is_the_conversations(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server)
    expect(chat.page).to_have_title("木偶")
    answered(chat, stage, "题目是什么", "题目。")
    expect(chat.page).to_have_title("题目是什么 – 木偶")
    chat.new()
    expect(chat.page).to_have_title("木偶")
