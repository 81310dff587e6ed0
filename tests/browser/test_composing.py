"""Writing a message: its limit, pictures where none are taken, new lines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.browsing import Chat
from tests.browser.conftest import OpenPage, Serve
from tests.browser.serving import TURN_KEY, serve_page, stored
from tests.browser.stage import Stage
from tests.process.server import Server

LIMIT = 60_000
"""Bytes of a message as JSON, which has two quotes."""

PASTE = """([words, files]) => {
    const data = new DataTransfer();
    if (words) data.setData("text/plain", words);
    const picture = name => new File([new Uint8Array(9)], name, {type: "image/png"});
    for (let n = 0; n < files; n++) data.items.add(picture(`${n}.png`));
    const box = document.querySelector("#chat-input");
    const paste = new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true});
    return box.dispatchEvent(paste);
}"""
DROP = """() => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(9)], "a.png", {type: "image/png"}));
    const box = document.querySelector("#chat-input");
    const event = name => new DragEvent(name, {dataTransfer: data, bubbles: true, cancelable: true});
    return [box.dispatchEvent(event("dragover")), box.dispatchEvent(event("drop"))];
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Iterator[Server]:
    with serve_page(tmp_path_factory.mktemp("composing"), stage=stage, MAX_BODY=str(LIMIT)) as server:
        yield server


def notice(chat: Chat) -> str:
    found = chat.page.get_by_role("alert").and_(chat.page.locator("#page-notice"))
    expect(found).not_to_be_empty()
    return found.inner_text()


@pytest.mark.parametrize("how", ["Enter", "click"])
@pytest.mark.parametrize("letter", ["x", "字", '"'])
def test_a_message_over_the_limit_stays_where_it_was_written(
    server: Server, stage: Stage, open_page: OpenPage, letter: str, how: str
) -> None:
    def send() -> None:
        if how == "Enter":
            chat.box.press("Enter")
        else:
            chat.send_button.click()

    bytes_each = {"x": 1, "字": 3, '"': 2}[letter]
    most = letter * ((LIMIT - 2) // bytes_each)
    chat = open_page(server, locale="en-US")
    chat.box.fill(most + letter)
    expect(chat.send_button).to_be_enabled()
    send()
    assert "0.1 MiB" in notice(chat)
    assert "Shorten it" in notice(chat)
    expect(chat.box).to_have_value(most + letter)
    expect(chat.questions).to_have_count(0)
    chat.box.fill(most)
    expect(chat.send_button).to_be_enabled()
    send()
    turn = stage.turn()
    assert turn.asks == most
    turn.answer("read")
    expect(chat.answer).to_have_text("read")


def test_shift_and_enter_begins_a_line(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server)
    chat.write("one")
    chat.page.keyboard.press("Shift+Enter")
    chat.page.keyboard.insert_text("two")
    expect(chat.questions).to_have_count(0)
    chat.page.keyboard.press("Enter")
    stage.turn("one\ntwo").answer("three")
    expect(chat.answer).to_have_text("three")


def test_a_picture_where_none_are_taken(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server, locale="en-US")
    assert chat.page.evaluate(PASTE, ["", 1]) is False
    assert notice(chat) == "This page does not take files."
    assert chat.page.evaluate(DROP) == [False, False]
    expect(chat.page.locator("[data-sonner-toast]")).to_have_count(0)
    assert chat.page.evaluate(PASTE, ["words", 1]) is True, "the browser pastes the words"
    expect(chat.page.locator("[data-sonner-toast]")).to_have_count(0)
    assert stored(server, TURN_KEY, session_id="none") == []


def test_more_files_than_a_message_may_have(served: Serve, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(served(stage=stage, page={"uploads": True}), locale="en-US")
    chat.write("connected")
    assert chat.page.evaluate(PASTE, ["", 11]) is False
    assert notice(chat) == "A message has at most 10 files."
    assert chat.page.evaluate(PASTE, ["", 2]) is True
    expect(chat.page.get_by_role("img", name="1.png")).to_be_visible()
    expect(chat.page.get_by_role("button", name="Remove the file")).to_have_count(2)
