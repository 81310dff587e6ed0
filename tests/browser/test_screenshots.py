"""Pictures of the page, the debug page and the admin page; with SCREENSHOTS=1 they go into docs/images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from appbuilder.core.conversations import Rating
from appbuilder.core.store import TurnEntry, TurnRecord
from appbuilder.ids import new_id
from appbuilder.store.sessions.open_stores import open_store
from appbuilder.store.sessions.session_store import SqlStore
from tests.browser.conftest import OpenPage, Serve
from tests.browser.serving import serve_service
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


USERS = ("user:alice", "user:bob", "local", "visitor:5d0f3b1c-7a4e-4a7b-9a55-0d2e6c1b8f42", "user:陈晓")
TALKS = (
    ("用 Python 算一下圆的面积，再列个表", 3, True),
    ("Plan a three-day trip to Chengdu with two children", 6, None),
    ("海淀区的面积是多少", 2, True),
    ("Explain how TCP slow start works", 4, None),
    ("把这段话翻译成英文：路漫漫其修远兮", 1, None),
    ("How long is the Nile?", 1, False),
    ("帮我写一封请假邮件", 5, None),
    ("Which of our contracts end this year?", 2, None),
    ("写一首关于海的短诗", 2, True),
    ("What does this error mean: EADDRINUSE", 3, True),
    ("周报：本周完成的事情和下周计划", 8, None),
    ("Summarise the minutes of Monday's meeting", 1, False),
    ("北京周末有什么展览", 2, None),
)
FAILS = "Which of our contracts end this year?"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Where the pictures go."""
    folder = IMAGES if os.environ.get("SCREENSHOTS") else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def take(page: Page, path: Path) -> None:
    """A picture of what is in the window."""
    page.mouse.move(5, 400)
    page.evaluate("document.activeElement.blur(); document.fonts.ready")
    page.screenshot(path=path, animations="disabled", caret="hide")
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
    take(chat.page, images / "chat-page.png")


def test_the_debug_page(served: Serve, open_page: OpenPage, images: Path) -> None:
    server = served("every_output", tool=("query", {}), page={"name": "EveryOutput"})
    chat = open_page(server, color_scheme="light")
    chat.ask("海淀区和朝阳区哪个大？")
    expect(chat.answers.locator("blockquote")).to_be_visible()
    expect(chat.answers.locator(".js-plotly-plot svg .pielayer .slice")).to_have_count(4)
    chat.at_rest()
    chat.answers.locator("pre code").filter(has_text="def area").scroll_into_view_if_needed()
    chat.answers.locator(".js-plotly-plot").first.scroll_into_view_if_needed()
    take(chat.page, images / "debug-page.png")


def converse(store: SqlStore, owner: str, title: str, turns: int, good: bool | None) -> None:
    """A session of so many turns; what is thought of the last."""
    session_id, turn_id = new_id(), ""
    for number in range(turns):
        turn_id, tokens = new_id(), 40 + 90 * number + 11 * len(title)
        answer = {"content": "…", "token_usage": {"total_tokens": tokens}}
        state = "failed" if title == FAILS and number else "complete"
        value = {"input": {"content": title}, "answer": answer, "state": state}
        store.commit(TurnRecord(session_id, new_id(), [], TurnEntry(turn_id, owner, title, value)))
    if good is not None:
        store.repository().rate(turn_id, Rating(good))


def test_the_admin_page(open_page: OpenPage, tmp_path: Path, images: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/chat.db")
    for number, (title, turns, good) in reversed([*enumerate(TALKS)]):
        converse(store, USERS[number % len(USERS)], title, turns, good)
    store.close()
    with serve_service(tmp_path, "echo") as server:
        page = open_page(server, load=False, color_scheme="light").page
        page.goto(f"http://127.0.0.1:{server.port}/admin")
        expect(page.locator("tbody tr")).to_have_count(len(TALKS))
        take(page, images / "admin-page.png")
