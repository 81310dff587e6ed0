"""The chat page in a notebook: it runs in a cell and ends when that is interrupted; another may follow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future
from http.client import HTTPException
from pathlib import Path

import pytest
from nbclient.exceptions import CellExecutionError
from tests.notebook.test_notebook import COMPONENT, TABLES, Notebook
from tests.process import page_client
from tests.process.server import free_port
from tests.process.talk import until

PAGE = COMPONENT + '''
import os
from appbuilder.utils.chainlit_deploy import ChainlitRuntime
os.environ["APPBUILDER_CACHE_DIR"] = os.path.abspath("cache")
os.environ["XDG_STATE_HOME"] = os.path.abspath("state")
agent = ChainlitRuntime(component=component_with_history, user_session_config="sqlite:///foo.db")
'''


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    with Notebook(tmp_path) as running:
        running.run(PAGE)
        yield running


def answers(browser: page_client.Browser, cell: Future[str]) -> bool:
    if cell.done():
        raise AssertionError(f"the cell ended: {cell.result()}")
    with contextlib.suppress(OSError):
        return browser.request("GET", "/health").status == 200
    return False


def refused(browser: page_client.Browser) -> bool:
    """Whether nobody listens any more."""
    try:
        browser.request("GET", "/health")
    except ConnectionRefusedError:
        return True
    except (OSError, HTTPException):
        return False
    return False


@contextlib.contextmanager
def served(notebook: Notebook, interrupts: int = 1) -> Iterator[page_client.Browser]:
    """A cell with the page, that runs meanwhile, and is then interrupted."""
    port = free_port()
    cell = notebook.begin(f"agent.chainlit_component(host='127.0.0.1', port={port})")
    browser = page_client.Browser(port)
    until(lambda: answers(browser, cell), timeout=30)
    yield browser
    for _ in range(interrupts):
        notebook.interrupt()
    if interrupts <= 1:
        assert "Traceback" not in cell.result(30)
        assert refused(browser)
    else:  # one of them may be Python's own again
        with contextlib.suppress(CellExecutionError):
            cell.result(30)
        until(lambda: refused(browser), timeout=10)


def test_a_page_in_a_cell_and_the_same_again(notebook: Notebook) -> None:
    with served(notebook) as browser, browser.connect() as chat:
        assert chat.ask("one") == "one "
        thread = chat.thread_id
    assert notebook.run("print(1 + 1)") == "2\n"
    with served(notebook) as browser:
        assert [each["name"] for each in browser.threads()] == ["one"]
        with browser.connect(thread_id=thread) as chat:
            assert chat.ask("two") == "one two "
    assert notebook.run(TABLES) == "[('appbuilder_session_messages',)]\n"
    assert {path.name for path in notebook.folder.iterdir()} == {"foo.db", "cache", "state"}


def test_interrupting_the_cell_lets_the_answer_finish(notebook: Notebook) -> None:
    with served(notebook, interrupts=0) as browser, browser.connect() as chat:
        for word in "abcdefgh":
            chat.ask(word)
        asked = chat.say("slow")
        chat.wait(lambda _: chat.text(asked))
        notebook.interrupt()
        assert chat.answer(asked) == "a b c d e f g h slow "


def test_however_often_it_is_interrupted_nothing_is_served_after_the_cell(notebook: Notebook) -> None:
    with served(notebook, interrupts=5) as browser, browser.connect() as chat:
        asked = chat.say("slow")
        chat.wait(lambda _: chat.text(asked))
    assert notebook.run("print(1 + 1)") == "2\n"
    with served(notebook) as browser, browser.connect() as chat:
        assert chat.ask("again").endswith("again ")
