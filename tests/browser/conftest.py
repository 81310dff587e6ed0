"""One browser for the ring; for each test contexts of its own, watched."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.browsing import NO_HTTPS, STRANGER, Chat, Trap, Watch, launch, prepare
from tests.browser.serving import serve_page
from tests.browser.stage import Stage
from tests.process.server import Server

OpenPage = Callable[..., Chat]
Serve = Callable[..., Server]

USUAL: dict[str, Any] = {"locale": "zh-CN", "viewport": {"width": 1280, "height": 800}}


@pytest.fixture(scope="package")
def trap() -> Iterator[Trap]:
    made = Trap()
    yield made
    made.close()


@pytest.fixture(scope="package")
def browser(trap: Trap) -> Iterator[Browser]:
    """Of the package and not of the session: its loop must not run in this thread when others need one."""
    with sync_playwright() as playwright:
        browser = launch(playwright, trap)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as made:
        yield made


@pytest.fixture(autouse=True)
def watch(trap: Trap) -> Iterator[Watch]:
    """Fails a test in which a page asked strangers, or complained."""
    made = Watch(trap)
    yield made
    made.check()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers of this test's own: arguments of ``serve_page`` without the folder."""
    with contextlib.ExitStack() as servers:
        yield lambda *args, **given: servers.enter_context(serve_page(tmp_path, *args, **given))


@pytest.fixture(scope="package")
def worn_tab(browser: Browser) -> Iterator[Page]:
    """A tab that was used before: to load the page there takes a third of the time."""
    with browser.new_context(**USUAL) as context:
        prepare(context)
        yield context.new_page()


@pytest.fixture
def open_page(browser: Browser, worn_tab: Page, watch: Watch, served: Serve) -> Iterator[OpenPage]:
    """Opens a page in a browser of its own: ``open_page(server, locale="en-US", ...)``.

    The first of a test, if it has nothing special, takes the worn tab. All are closed before the test's own
    servers end.
    """
    tabs: list[Page] = []

    def open_page(server: Server, *, host: str = "127.0.0.1", load: bool = True, **options: Any) -> Chat:
        if host == STRANGER:
            watch.allowed.append(NO_HTTPS)
        if options or tabs or not load or host == STRANGER:
            context = browser.new_context(**{**USUAL, **options})
            prepare(context)
            tabs.append(context.new_page())
        else:
            tabs.append(worn_tab)
        watch.over(tabs[-1].context)
        chat = Chat(tabs[-1], f"http://{host}:{server.port}")
        return chat.open() if load else chat

    yield open_page
    for tab in tabs:
        watch.leave(tab.context)
        if tab is worn_tab:
            wear(tab)
        else:
            tab.context.close()


def wear(tab: Page) -> None:
    """Leaves the worn tab as if it were new."""
    for other in tab.context.pages:
        if other is not tab:
            other.close()
    tab.goto("about:blank")
    tab.context.clear_cookies()


@pytest.fixture(autouse=True)
def curtain(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test the module's puppets are let go."""
    yield
    if "stage" in request.fixturenames:
        request.getfixturevalue("stage").clear()
