"""The page of docs/embedding.md, on a site of its own, asks a service of another origin."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.process.serving import ROOT, free_port, serve_target

PROGRAM = '''
def answer(message, history):
    yield f"{len(history) // 2} before. "
    yield f"<b>{message}</b>"
'''


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, without a line for each."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_a_site_s_own_page_streams_answers_as_text_and_goes_on(tmp_path: Path, browser: Browser) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{site.server_port}"
        with serve_target("app.py:answer", tmp_path, "--cors-origins", origin) as service:
            written = (ROOT / "docs/embedding.md").read_text("utf-8")
            [html] = re.findall(r"```html\n(.*?)```", written, re.DOTALL)
            agent = f"http://127.0.0.1:{service.port}/chat"
            (tmp_path / "site.html").write_text(html.replace("https://chat.example.com/chat", agent))
            page = browser.new_page()
            page.goto(f"{origin}/site.html")
            for number in range(2):
                page.get_by_label("Question").fill("hello & goodbye")
                page.get_by_role("button", name="Ask").click()
                line = page.locator("#said p").nth(number)
                expect(line).to_have_text(f"{number} before. <b>hello & goodbye</b>")
            page.close()
        site.shutdown()
