"""The browser: what a reader does on the page and sees there, and what must never happen meanwhile."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Playwright,
    Request,
    WebSocket,
    expect,
)

from tests.browser.stage import PATIENCE

EXECUTABLE = "/usr/bin/chromium"
STRANGER = "stranger.test"
"""A name of this machine that is none of the loopback's: who comes by it is not the local user."""
NO_HTTPS = "The Cross-Origin-Opener-Policy header has been ignored"
"""What Chromium says of every page that comes over plain HTTP from another name than the loopback's."""
HERE = ("127.0.0.1", "localhost", STRANGER)
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=AutofillServerCommunication,MediaRouter,OptimizationHints,Translate",
)
BROWSERS_OWN = re.compile(r"(?:CONNECT |[A-Z]+ http://)(?!fonts\.)[a-z0-9.-]+\.(?:google|googleapis|gvt1)\.com[:/]")
"""Whom Chromium asks for itself, whatever it is told. Were it the page, its request would be noted."""
GIVEN_UP = r"status of 400 .*/ws/socket\.io/\?.*transport=polling.*&sid="
"""Chainlit's page opens two sockets and gives one up; what that one still says may come after its end. A
message that got lost so would show on the page, where the tests look."""
VIOLATIONS = """addEventListener("securitypolicyviolation", event =>
    console.error("policy violated", event.effectiveDirective, event.blockedURI))"""

expect.set_options(timeout=PATIENCE * 1000)


class Trap:
    """A proxy for every address but this machine's: notes who is asked for, and answers nobody.

    What the browser itself would fetch, or only connect to, without an event for the page, comes here too.
    """

    def __init__(self) -> None:
        self.asked_for: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    self.asked_for.append(connection.recv(1000).decode("latin-1").partition("\r\n")[0])
                except OSError:
                    self.asked_for.append("a connection")

    def close(self) -> None:
        """Ends it."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def launch(playwright: Playwright, trap: Trap) -> Browser:
    """Debian's Chromium, without a window."""
    return playwright.chromium.launch(
        executable_path=EXECUTABLE,
        args=[
            *QUIET,
            f"--proxy-server=http://127.0.0.1:{trap.port}",
            f"--proxy-bypass-list={STRANGER}",
            f"--host-resolver-rules=MAP {STRANGER} 127.0.0.1",
        ],
    )


def prepare(context: BrowserContext) -> None:
    """Makes pages of *context* tell of what their policy forbade."""
    context.add_init_script(VIOLATIONS)


class Watch:
    """Notes what no page may do: ask strangers, complain on the console, break its own policy.

    ``allowed`` are patterns of console errors a test provokes, a refused login for instance.
    """

    def __init__(self, trap: Trap) -> None:
        self.allowed: list[str] = [GIVEN_UP]
        self._trap = trap
        self._trapped = len(trap.asked_for)
        self._foreign: list[str] = []
        self._errors: list[str] = []
        self._listeners: dict[str, Callable[[Any], None]] = {
            "request": self._note_request,
            "console": self._note_console,
            "weberror": lambda error: self._errors.append(f"uncaught: {error.error}"),
            "page": lambda page: page.on("websocket", self._note_socket),
        }

    def over(self, context: BrowserContext) -> None:
        """Watches all pages of *context*."""
        for event, listener in self._listeners.items():
            context.on(event, listener)  # type: ignore[call-overload]
        for page in context.pages:
            page.on("websocket", self._note_socket)

    def leave(self, context: BrowserContext) -> None:
        """Watches it no longer."""
        for event, listener in self._listeners.items():
            context.remove_listener(event, listener)
        for page in context.pages:
            page.remove_listener("websocket", self._note_socket)

    def allow_silence(self) -> None:
        """A test ends the process under a page that is open: the page may complain of that."""
        self.allowed += ["Failed to load resource: net::ERR_", "WebSocket connection to", "Failed to fetch"]

    def check(self) -> None:
        """:raises AssertionError: something of it has happened."""
        assert not self._foreign, f"strangers were asked: {self._foreign}"
        trapped = [each for each in self._trap.asked_for[self._trapped :] if not BROWSERS_OWN.match(each)]
        assert not trapped, f"the browser went to strangers: {trapped}"
        errors = [each for each in self._errors if not any(re.search(one, each) for one in self.allowed)]
        assert not errors, f"the page complained: {errors}"

    def _note_request(self, request: Request) -> None:
        self._note_address(request.url)

    def _note_socket(self, websocket: WebSocket) -> None:
        self._note_address(websocket.url)

    def _note_address(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"data", "blob"} and parts.hostname not in HERE:
            self._foreign.append(url)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._errors.append(f"{message.text} ({message.location.get('url', '')})")


class Chat:
    """The chat page in one tab."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address

    def open(self, path: str = "/") -> Chat:
        """Loads the page; returns when something can be asked."""
        self.page.goto(self.address + path)
        return self.ready()

    def ready(self) -> Chat:
        """Waits until something can be asked."""
        expect(self.box).to_be_visible()
        return self

    def reload(self) -> Chat:
        """Loads it anew, once its address names the conversation."""
        if self.questions.count():
            assert self.session_id
        self.page.reload()
        return self.ready()

    def new(self) -> Chat:
        """Begins another conversation."""
        self.page.locator("#new-chat-button").first.click()
        expect(self.questions).to_have_count(0)
        return self

    # Asking

    @property
    def box(self) -> Locator:
        """Where one writes."""
        return self.page.locator("#chat-input")

    @property
    def send_button(self) -> Locator:
        return self.page.locator("#chat-submit")

    @property
    def stop_button(self) -> Locator:
        return self.page.locator("#stop-button")

    def write(self, words: str) -> None:
        """Writes into the box; returns when it could be sent."""
        self.box.click()
        self.page.keyboard.insert_text(words)
        expect(self.send_button).to_be_enabled()

    def ask(self, words: str) -> None:
        """Writes and sends."""
        before = self.questions.count()
        self.write(words)
        self.page.keyboard.press("Enter")
        expect(self.questions).to_have_count(before + 1)

    def at_rest(self) -> Chat:
        """Waits until no answer is under way."""
        expect(self.send_button).to_be_visible()
        return self

    # What is shown

    @property
    def questions(self) -> Locator:
        return self.page.locator('[data-step-type="user_message"]')

    @property
    def answers(self) -> Locator:
        return self.page.locator('[data-step-type="assistant_message"]')

    @property
    def answer(self) -> Locator:
        """The newest."""
        return self.answers.last

    @property
    def folds(self) -> Locator:
        """Steps that fold open."""
        return self.page.locator('[data-step-type="llm"], [data-step-type="tool"]')

    @property
    def said(self) -> list[str]:
        """All that is said on the page, questions and answers in their order."""
        both = self.page.locator('[data-step-type="user_message"], [data-step-type="assistant_message"]')
        return [text.strip() for text in both.all_inner_texts()]

    @property
    def session_id(self) -> str:
        """Of the conversation that is open, from its address."""
        self.page.wait_for_url("**/thread/*")
        return urlsplit(self.page.url).path.rpartition("/")[2]

    # The side bar

    @property
    def listed(self) -> Locator:
        """The side bar's conversations."""
        return self.page.locator('#thread-history [id^="thread-"]:not(#thread-options)')

    def entry(self, title: str) -> Locator:
        """One of them."""
        return self.listed.filter(has_text=title)

    def choose(self, title: str, option: str) -> None:
        """Opens a conversation's menu and picks an option by its id."""
        self.entry(title).hover()
        self.entry(title).locator("#thread-options").click()
        self.page.locator(f"#{option}").click()

    # Thumbs

    def thumb(self, kind: str) -> Locator:
        """``positive`` or ``negative``, of the newest answer."""
        return self.answer.locator(f".{kind}-feedback-on, .{kind}-feedback-off")
