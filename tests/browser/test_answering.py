"""Asking, and watching the answer come."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.browsing import Chat
from tests.browser.conftest import OpenPage
from tests.browser.serving import TURN_KEY, serve_page, stored
from tests.browser.stage import Stage
from tests.process.server import Server
from tests.process.serving import eventually

STEAL = "document.title = 'stolen'"
SCRIPT = f'<script>{STEAL}</script><img src=x onerror="{STEAL}"><b>bold</b>'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Iterator[Server]:
    with serve_page(tmp_path_factory.mktemp("asking"), stage=stage) as server:
        yield server


def answered(chat: Chat, stage: Stage, question: str, *pieces: str) -> None:
    """One whole turn."""
    chat.ask(question)
    stage.turn(question).answer(*pieces)
    chat.at_rest()


def asked(server: Server, chat: Chat) -> list[str]:
    """What the database says was asked in the conversation."""
    return [row["message_value"]["input"]["content"]
            for row in stored(server, TURN_KEY, session_id=chat.session_id)]


def test_an_answer_streams_piece_by_piece(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server)
    chat.ask("海淀区的面积是多少")
    turn = stage.turn("海淀区的面积是多少")
    turn.say("海淀区")
    expect(chat.answer).to_have_text("海淀区")
    turn.say("的面积是")
    expect(chat.answer).to_have_text("海淀区的面积是")
    expect(chat.stop_button).to_be_visible()
    turn.answer("431平方公里。")
    expect(chat.answer).to_have_text("海淀区的面积是431平方公里。")
    chat.at_rest()
    expect(chat.answers).to_have_count(1)
    assert chat.said == ["海淀区的面积是多少", "海淀区的面积是431平方公里。"]
    [row] = stored(server, TURN_KEY, session_id=chat.session_id)
    assert row["message_value"]["answer"]["content"] == "海淀区的面积是431平方公里。"


def test_the_enter_that_ends_an_input_methods_word_does_not_send(
    server: Server, stage: Stage, open_page: OpenPage
) -> None:
    chat = open_page(server)
    chat.box.click()
    keys = chat.page.context.new_cdp_session(chat.page)
    for typed in ("h", "ha", "hai", "haidian"):
        composing = {"text": typed, "selectionStart": len(typed), "selectionEnd": len(typed)}
        keys.send("Input.imeSetComposition", composing)
    expect(chat.box).to_have_value("haidian")
    # What a browser sends while an input method takes the key for itself.
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
    keys.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **enter})
    keys.send("Input.dispatchKeyEvent", {"type": "keyUp", **enter})
    expect(chat.questions).to_have_count(0)
    keys.send("Input.insertText", {"text": "海淀"})
    expect(chat.box).to_have_value("海淀")
    expect(chat.send_button).to_be_enabled()
    chat.page.keyboard.press("Enter")
    stage.turn("海淀").answer("好")
    expect(chat.answer).to_have_text("好")


def test_shift_enter_is_a_new_line(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server)
    chat.write("第一行")
    chat.page.keyboard.press("Shift+Enter")
    chat.page.keyboard.insert_text("第二行")
    expect(chat.questions).to_have_count(0)
    chat.page.keyboard.press("Enter")
    stage.turn("第一行\n第二行").answer("好")
    chat.at_rest()
    expect(chat.box).to_have_value("")
    assert chat.said == ["第一行\n第二行", "好"]
    assert asked(server, chat) == ["第一行\n第二行"]


def test_markdown_code_and_a_table(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server)
    answered(chat, stage, "markdown", "# 标题\n\n**粗** 和 *斜*\n\n- 一\n- 二\n\n",
             "```python\ndef f(x: int) -> str:\n    return 'x'\n```\n\n",
             "| 区 | 面积 |\n|-|-|\n| 海淀 | 431 |\n")
    answer = chat.answer
    expect(answer.locator("h1")).to_have_text("标题")
    expect(answer.locator(".font-bold")).to_have_text("粗")
    expect(answer.locator(".italic")).to_have_text("斜")
    expect(answer.locator("li")).to_have_text(["一", "二"])
    code = answer.locator("pre code")
    expect(code).to_have_text("def f(x: int) -> str:\n    return 'x'\n", use_inner_text=False)
    expect(code.locator(".hljs-keyword").first).to_have_text("def")
    expect(answer.locator("table th")).to_have_text(["区", "面积"])
    expect(answer.locator("table td")).to_have_text(["海淀", "431"])


def test_mathematics_is_drawn_without_a_foreign_file(
    server: Server, stage: Stage, open_page: OpenPage
) -> None:
    chat = open_page(server)
    answered(chat, stage, "math", "行内 $e^{i\\pi}+1=0$ 和\n\n$$\\int_0^1 x^2 dx = \\frac{1}{3}$$\n")
    math = chat.answer.locator("math")
    expect(math).to_have_count(2)
    for each in math.all():
        expect(each).to_be_visible()
        box = each.bounding_box()
        assert box is not None
        assert box["width"] > 20
        assert box["height"] > 10
    for hidden in chat.answer.locator(".katex-html").all():
        expect(hidden).to_be_hidden()
    above, below = (each.bounding_box() for each in chat.answer.locator("mfrac > *").all())
    assert above is not None
    assert below is not None
    assert above["y"] + above["height"] <= below["y"] + 1


def test_html_is_text(server: Server, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(server)
    answered(chat, stage, SCRIPT, "Said: ", SCRIPT)
    for shown in (chat.questions.last, chat.answer):
        expect(shown).to_contain_text(SCRIPT)
        expect(shown.locator("script, img[src=x], b")).to_have_count(0)
    chat.reload()
    for shown in (chat.questions.last, chat.answer):
        expect(shown).to_contain_text(SCRIPT)
    expect(chat.page).to_have_title(re.compile(r"^<script>.* – "))


@pytest.mark.parametrize("link", ["javascript:document.title='stolen'", "data:text/html,<script>1</script>"])
def test_a_link_cannot_run_anything(
    server: Server, stage: Stage, open_page: OpenPage, link: str
) -> None:
    chat = open_page(server)
    answered(chat, stage, "link", f"[here]({link})")
    expect(chat.answer).to_contain_text("here")
    links = chat.answer.locator("a").all()
    assert all((each.get_attribute("href") or "") == "" for each in links)


def test_the_copy_button_copies_the_answers_source(
    server: Server, stage: Stage, open_page: OpenPage
) -> None:
    chat = open_page(server, permissions=["clipboard-read", "clipboard-write"])
    answered(chat, stage, "copy", "**粗** 和 `code`")
    chat.answer.locator("button:has(svg.lucide-copy)").last.click()
    expect(chat.answer.locator("svg.lucide-check")).to_be_visible()
    assert chat.page.evaluate("navigator.clipboard.readText()") == "**粗** 和 `code`"


@pytest.mark.parametrize(("prefers", "other"), [("light", "dark"), ("dark", "light")])
def test_light_and_dark(server: Server, open_page: OpenPage, prefers: str, other: str) -> None:
    chat = open_page(server, color_scheme=prefers, locale="en-US")
    root = chat.page.locator("html")
    expect(root).to_contain_class(prefers)
    first = brightness(chat)
    assert (first > 200) == (prefers == "light")
    chat.page.locator("#theme-toggle").click()
    chat.page.get_by_role("menuitem", name=other.capitalize()).click()
    expect(root).to_contain_class(other)
    assert (brightness(chat) > 200) == (other == "light")
    chat.reload()
    expect(root).to_contain_class(other)


def brightness(chat: Chat) -> float:
    """Of the page's background, 0 to 255."""
    script = """() => { const canvas = document.createElement("canvas").getContext("2d");
        canvas.fillStyle = getComputedStyle(document.body).backgroundColor; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3) }"""
    return float(sum(chat.page.evaluate(script))) / 3


LANGUAGES = {
    "zh-CN": ("在此输入您的消息...", "新建对话"),
    "zh": ("在此输入您的消息...", "新建对话"),
    "en-GB": ("Type your message here...", "New Chat"),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_speaks_the_browsers_language(
    server: Server, open_page: OpenPage, language: str
) -> None:
    chat = open_page(server, locale=language)
    placeholder, new = LANGUAGES[language]
    expect(chat.box).to_have_attribute("placeholder", placeholder)
    chat.page.locator("#new-chat-button").first.hover()
    expect(chat.page.get_by_role("tooltip", name=new)).to_be_attached()


def test_the_page_has_the_components_name_icon_and_first_questions(
    server: Server, stage: Stage, open_page: OpenPage
) -> None:
    chat = open_page(server)
    expect(chat.page).to_have_title("木偶")
    first = chat.page.locator("#starters button")
    expect(first).to_have_text(["你好，介绍一下自己", "What can you do?"])
    first.first.click()
    stage.turn("你好，介绍一下自己").answer("我是木偶。")
    expect(chat.answer).to_have_text("我是木偶。")
    icon = chat.answer.locator("img")
    assert icon.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


def test_an_answer_in_one_piece_and_an_empty_one(
    server: Server, stage: Stage, open_page: OpenPage
) -> None:
    chat = open_page(server)
    answered(chat, stage, "whole", "一次说完。")
    expect(chat.answer).to_have_text("一次说完。")
    answered(chat, stage, "nothing")
    expect(chat.answers).to_have_count(2)
    eventually(lambda: asked(server, chat) == ["whole", "nothing"])
