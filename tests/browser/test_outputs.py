"""The debug page: every type of output is shown as what it is, at once and after a reload."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.browsing import Chat
from tests.browser.conftest import OpenPage, Serve
from tests.browser.serving import serve_page
from tests.browser.stage import Stage
from tests.process.server import Server

QUESTION = "海淀区和朝阳区哪个大？"
TABLE = "区,面积\n海淀区,430.8\n朝阳区,470.8\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve_page(tmp_path_factory.mktemp("outputs"), "every_output", tool=("query", {})) as server:
        yield server


def image(chat: Chat) -> None:
    shown = chat.answers.locator("img[alt*=渐变], img[src^='data:image/png']").first
    expect(shown).to_be_visible()
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") == 320


def charts(chat: Chat) -> None:
    bars, pie = (chat.answers.locator(".js-plotly-plot").nth(number) for number in (0, 1))
    expect(bars.locator("svg .barlayer .trace.bars")).to_have_count(2)
    expect(bars.locator("svg .barlayer .point")).to_have_count(12)
    expect(bars.locator("svg .scatterlayer .trace")).to_have_count(1)
    expect(bars.locator("svg .gtitle")).to_contain_text("海淀与朝阳")
    expect(pie.locator("svg .pielayer .slice")).to_have_count(4)
    box = bars.bounding_box()
    assert box is not None
    assert box["width"] > 300
    assert box["height"] > 200


def audio(chat: Chat) -> None:
    player = chat.answers.locator("audio")
    expect(player).to_have_count(1)
    loaded = """audio => audio.readyState >= 1 ? audio.duration : new Promise((done, failed) => {
        audio.onloadedmetadata = () => done(audio.duration);
        audio.onerror = () => failed(audio.error.message); audio.load() })"""
    assert player.evaluate(loaded) == pytest.approx(0.4, abs=0.05)


def download(chat: Chat) -> None:
    link = chat.answers.locator("a[download], a:has-text('面积.csv')").first
    with chat.page.expect_download() as downloading:
        link.click()
    assert downloading.value.suggested_filename == "面积.csv"
    assert downloading.value.path().read_text("utf-8") == TABLE


def links(chat: Chat) -> None:
    for address, title in {
        "https://tjj.beijing.gov.cn/": "北京市统计年鉴",
        "https://en.wikipedia.org/wiki/Beijing": "Beijing – districts",
        "https://www.beijing.gov.cn/": "www.beijing.gov.cn",
    }.items():
        link = chat.answers.locator(f"a[href='{address}']")
        expect(link).to_contain_text(title)
        expect(link).to_have_attribute("target", "_blank")


def code(chat: Chat) -> None:
    shown = chat.answers.locator("pre code").filter(has_text="def area")
    expect(shown.locator(".hljs-keyword").first).to_have_text("def")
    call = chat.answers.locator("pre code").filter(has_text='"arguments"')
    expect(call.locator(".hljs-attr").first).to_be_visible()
    data = chat.answers.locator("pre code").filter(has_text='"海淀区": 430.8', has_not_text="def area")
    expect(data.locator(".hljs-attr").first).to_be_visible()


def progress(chat: Chat) -> None:
    bar = chat.answers.filter(has_text="100%")
    expect(bar).to_have_count(1)
    expect(bar).to_contain_text("█" * 20)
    expect(chat.answers.filter(has_text="33%")).to_have_count(0)


def reasoning(chat: Chat) -> None:
    fold = chat.folds.filter(has_text="reasoning")
    expect(fold).to_have_count(1)
    expect(chat.page.get_by_text("First the facts")).to_have_count(0)
    fold.get_by_role("button").first.click()
    expect(chat.page.get_by_text("用户问的是两个区的比较。First the facts, then a chart.")).to_be_visible()


def words(chat: Chat) -> None:
    text = chat.answers.filter(has_text="你问的是")
    expect(text).to_have_count(1)
    expect(text.locator(".font-bold").filter(has_text=QUESTION)).to_be_visible()
    expect(text).to_contain_text("海淀区面积 430.8 平方公里 [1]，朝阳区 470.8 平方公里 [2]。")
    expect(chat.answers.locator("blockquote")).to_contain_text("海淀区比朝阳区小四十平方公里。")
    expect(chat.answers.locator("ol li").filter(has_text="查两个区的面积")).to_have_count(1)


def test_each_type_is_shown_as_what_it_is(server: Server, open_page: OpenPage) -> None:
    chat = open_page(server)
    chat.ask(QUESTION)
    expect(chat.answers.locator("blockquote")).to_be_visible()
    chat.at_rest()
    for _ in ("at once", "after a reload"):
        for check in (image, charts, audio, download, links, code, progress, reasoning, words):
            check(chat)
        chat.reload()
        expect(chat.answers.locator("blockquote")).to_be_visible()


def test_progress_is_a_bar_that_moves(served: Serve, stage: Stage, open_page: OpenPage) -> None:
    chat = open_page(served(stage=stage, tool=("query", {})))
    chat.ask("进度")
    turn = stage.turn("进度")
    for done, bar in {"0.1": "██" + "░" * 18, "0.5": "█" * 10 + "░" * 10, "1": "█" * 20}.items():
        turn.say(done)
        expect(chat.answer).to_contain_text(f"{bar} {float(done):.0%} · 查询")
        expect(chat.answers).to_have_count(1)
    turn.end()
    chat.at_rest().reload()
    expect(chat.answers).to_have_text([re.compile("^█{20} 100% · 查询$")])
