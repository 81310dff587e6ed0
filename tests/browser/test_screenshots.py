"""Pictures of the page and of the debug page; with SCREENSHOTS=1 they are written into docs/images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.browsing import Chat
from tests.browser.conftest import OpenPage, Serve
from tests.browser.stage import Stage

IMAGES = Path(__file__).parents[2] / "docs" / "images"
LARGEST = 300_000
"""Bytes of a picture in the repository."""
SMALLEST = 30_000
"""Bytes of a picture with something on it: that of an empty page has 8,000."""
QUESTION = "用 Python 算一下圆的面积，再列个表"
ANSWER = r'''半径为 $r$ 的圆，面积由积分得来：

$$
S = \int_0^r 2 \pi \rho \, d\rho = \pi r^2
$$

```python
import math

def area(radius: float) -> float:
    """圆的面积。"""
    return math.pi * radius**2
```

| 半径 | 面积 |
|---:|---:|
| 1 | 3.14 |
| 2 | **12.57** |
'''
EARLIER = {
    "海淀区的面积是多少": "海淀区的面积是 **431 平方公里**。",
    "How long is the Nile?": "About **6,650 km**.",
    "帮我写一封请假邮件": "好的，请告诉我请假的时间和原因。",
    "把这段话翻译成英文": "请把要翻译的文字发给我。",
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Where the pictures go."""
    folder = IMAGES if os.environ.get("SCREENSHOTS") else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def take(chat: Chat, path: Path) -> None:
    """A picture of what is in the window."""
    chat.page.mouse.move(5, 400)
    chat.page.evaluate("document.activeElement.blur(); document.fonts.ready")
    chat.page.screenshot(path=path, animations="disabled", caret="hide")
    assert SMALLEST < path.stat().st_size < LARGEST


def test_the_chat_page(served: Serve, stage: Stage, open_page: OpenPage, images: Path) -> None:
    chat = open_page(served(stage=stage, page={"name": "AppBuilder"}), color_scheme="light")
    for question, answer in EARLIER.items():
        chat.ask(question)
        stage.turn(question).answer(answer)
        expect(chat.answers).to_have_count(1)
        chat.at_rest().new()
    chat.ask(QUESTION)
    stage.turn(QUESTION).answer(ANSWER)
    expect(chat.answer.locator("td").last).to_be_visible()
    expect(chat.listed).to_have_count(len(EARLIER) + 1)
    chat.at_rest().reload()
    expect(chat.answer.locator("td").last).to_be_visible()
    take(chat, images / "chat-page.png")


def test_the_debug_page(served: Serve, open_page: OpenPage, images: Path) -> None:
    server = served("every_output", tool=("query", {}), page={"name": "EveryOutput"})
    chat = open_page(server, color_scheme="light")
    chat.ask("海淀区和朝阳区哪个大？")
    expect(chat.answers.locator("blockquote")).to_be_visible()
    expect(chat.answers.locator(".js-plotly-plot svg .pielayer .slice")).to_have_count(4)
    chat.at_rest()
    chat.answers.locator("pre code").filter(has_text="def area").scroll_into_view_if_needed()
    chat.answers.locator(".js-plotly-plot").first.scroll_into_view_if_needed()
    take(chat, images / "debug-page.png")
