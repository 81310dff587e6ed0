"""A page minds its own business: other programs' settings, files, addresses, and what is said on it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.process import page_client
from tests.process.page_client import FOREIGN_HOST, PageServer, Refused

CANARY = "canary-4b1d"
FOREIGN_ENVIRONMENT = {
    "SLACK_BOT_TOKEN": "xoxb-1",
    "SLACK_SIGNING_SECRET": "x",
    "TEAMS_APP_ID": "x",
    "TEAMS_APP_PASSWORD": "x",
    "DISCORD_BOT_TOKEN": "x",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x",
    "LITERAL_API_KEY": "x",
    "LITERAL_API_URL": "http://127.0.0.1:1",
    "OAUTH_GITHUB_CLIENT_ID": "x",
    "OAUTH_GITHUB_CLIENT_SECRET": "x",
    "CHAINLIT_URL": "http://elsewhere.example",
    "CHAINLIT_ROOT_PATH": "/elsewhere",
    "CHAINLIT_HOST": "0.0.0.0",
    "CHAINLIT_PORT": "1",
    "CHAINLIT_AUTH_SECRET": "x" * 32,
    "CHAINLIT_AUTH_COOKIE_NAME": "other",
    "CHAINLIT_AUTH_COOKIE_PATH": "/x",
    "CHAINLIT_COOKIE_SAMESITE": "none",
    "CHAINLIT_CUSTOM_AUTH": "",
    "CHAINLIT_APP_ROOT": "/nowhere",
    "CHAINLIT_ENV_FILE": ".env",
    "CHAINLIT_DEBUG": "true",
    "DEBUG": "1",
    "BUCKET_NAME": "x",
    "APP_AWS_ACCESS_KEY": "x",
    "AWS_ACCESS_KEY_ID": "x",
    "LANGCHAIN_TRACING_V2": "true",
    "FORWARDED_ALLOW_IPS": "*",
    "UVICORN_PORT": "1",
    "WEB_CONCURRENCY": "4",
}
CONFIGURATION = """
[project]
enable_telemetry = true
allow_origins = ["*"]
[features]
unsafe_allow_html = true
edit_message = true
[features.mcp]
enabled = true
[features.spontaneous_file_upload]
enabled = true
[UI]
name = "Somebody else"
custom_js = "/public/evil.js"
"""


def behaviour(server: PageServer) -> list[Any]:
    """What a browser sees of a page."""
    browser = server.browser()
    seen: list[Any] = []
    for path in ("/", "/user", "/auth/config", "/project/settings", "/project/translations", "/nothing"):
        answer = browser.request("GET", path)
        names = {name: value for name, value in answer.headers if name.lower() not in {"date", "etag"}}
        seen.append(
            (path, answer.status, re.sub(rb'"(request_id|createdAt)":"[^"]*"', b"", answer.body), names)
        )
    for method, path in (
        ("POST", "/mcp"),
        ("POST", "/project/file"),
        ("POST", "/auth/jwt"),
        ("GET", "/public/x"),
    ):
        seen.append((path, browser.request(method, path, {}).status))
    with browser.connect() as chat:
        seen.append(chat.ask("hello"))
        seen.append([name for name, _ in chat.events if name.startswith("first")])
    return [*seen, browser.threads()[0]["name"]]


def test_other_programs_settings_change_nothing(tmp_path: Path) -> None:
    plain, busy = tmp_path / "plain", tmp_path / "busy"
    plain.mkdir()
    (busy / ".chainlit" / "translations").mkdir(parents=True)
    (busy / ".chainlit" / "config.toml").write_text(CONFIGURATION)
    (busy / ".chainlit" / "translations" / "en-US.json").write_text('{"common": {}}')
    (busy / "public").mkdir()
    (busy / "public" / "evil.js").write_text("x")
    (busy / ".env").write_text("\n".join(f"{name}={value}" for name, value in FOREIGN_ENVIRONMENT.items()))
    before = {path: path.read_bytes() for path in busy.rglob("*") if path.is_file()}
    with page_client.serve(plain) as one, page_client.serve(busy, env=FOREIGN_ENVIRONMENT) as two:
        assert behaviour(one) == behaviour(two)
        told = Path(f"/proc/{two.process.pid}/cwd").resolve()
        assert told == busy
    after = {path: path.read_bytes() for path in busy.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    new = {path.relative_to(busy).parts[0] for path in after.keys() - before.keys()}
    assert new == {"server.log", "chat.db", "chat.db-wal", "chat.db-shm", "cache", "state"}


def test_nothing_is_written_into_the_working_directory(tmp_path: Path) -> None:
    with page_client.serve(tmp_path) as server:
        behaviour(server)
        written = {path.name for path in tmp_path.iterdir()}
        assert written == {"server.log", "chat.db", "chat.db-wal", "chat.db-shm", "cache", "state"}
        server.terminate()
    assert {path.name for path in tmp_path.iterdir()} == {"server.log", "chat.db", "cache", "state"}
    left = [path for top in ("cache", "state") for path in (tmp_path / top).rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["page.secret"]


def test_a_readme_of_the_user_s_own_is_shown(tmp_path: Path) -> None:
    (tmp_path / "chainlit.md").write_text("# 你好 readme", "utf-8")
    with page_client.serve(tmp_path) as server:
        assert "你好 readme" in server.browser().request("GET", "/project/settings").json["markdown"]
    assert (tmp_path / "chainlit.md").read_text("utf-8") == "# 你好 readme"
    assert {path.name for path in tmp_path.iterdir()} >= {"chainlit.md"}
    assert not (tmp_path / ".chainlit").exists()


def test_no_connection_is_made_to_anybody(tmp_path: Path) -> None:
    """A trace of the process and its threads, from its start to its end."""
    strace = shutil.which("strace")
    assert strace is not None, "strace is needed: tests/services/install.sh"
    trace = tmp_path / "trace"
    prefix = (strace, "-f", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace))
    with page_client.serve(tmp_path, prefix=prefix, DEBUG_PAGE="yes") as server:
        behaviour(server)
        with server.visitor().connect() as chat:
            chat.ask("![x](http://images.example/x.png) <img src=http://images.example/y.png>")
        server.interrupt()
        server.wait()
    lines = trace.read_text("utf-8", "replace").splitlines()
    connects = [line for line in lines if "connect(" in line and re.search("AF_INET6?", line)]
    assert [line for line in lines if "exited with" in line], "it was traced"
    assert connects == []
    assert [line for line in lines if "AF_INET" in line and "sin" in line] == []


@pytest.fixture
def logging_all(tmp_path: Path) -> Iterator[PageServer]:
    page = {"users": {f"ann-{CANARY}": f"password-{CANARY}", "bob": "b"}}
    env = {"APPBUILDER_TOKEN": f"token-{CANARY}", "APPBUILDER_PAGE_SECRET": f"secret-{CANARY}"}
    with page_client.serve(tmp_path, page=page, env=env, LOGLEVEL="DEBUG") as server:
        yield server


def test_what_is_said_and_secrets_are_not_in_the_log(logging_all: PageServer) -> None:
    server = logging_all
    ann = server.browser(
        FOREIGN_HOST, headers={"Authorization": f"Bearer {CANARY}", "X-Appbuilder-Token": CANARY}
    )
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for body in (f"username={CANARY}&password={CANARY}", f"username=bob&password={CANARY}", CANARY):
        assert ann.request("POST", "/login", body.encode(), form).status in {400, 401}
    assert ann.log_in(f"ann-{CANARY}", f"password-{CANARY}").status == 200
    secrets = [*ann.cookies.values()]
    with ann.connect() as chat:
        chat.ask(CANARY)
        chat.say(f"{CANARY}\ud800")
        chat.wait(lambda _: chat.errors())
        failed = chat.do("fail", kind="ValueError", text="the component's own words", mark=CANARY)
        chat.answer(failed)
        stopped = chat.do("say", pieces=[CANARY], hold=True, mark=CANARY)
        chat.wait(lambda _: CANARY in chat.text(stopped))
        chat.emit("stop")
        chat.answer(stopped)
        chat.emit("client_message", {CANARY: CANARY})
        chat.emit(CANARY, CANARY)
        thread = chat.thread_id
        turn = next(step["id"] for name, step in chat.events if name == "update_message")
    for method, path, sent in (
        ("PUT", "/project/thread", {"threadId": thread, "name": CANARY}),
        ("PUT", "/feedback", {"feedback": {"forId": turn, "value": 1, "comment": CANARY}, "sessionId": "x"}),
        ("PUT", "/feedback", {"feedback": {"forId": CANARY, "value": CANARY}, "sessionId": 5}),
        (
            "POST",
            "/project/threads",
            {"pagination": {"first": 5, "cursor": CANARY}, "filter": {"search": CANARY}},
        ),
        ("POST", "/project/threads", CANARY),
        ("DELETE", "/project/thread", {"threadId": CANARY}),
        ("GET", f"/project/thread/{CANARY}", None),
        ("GET", f"/{CANARY}?{CANARY}", None),
        (CANARY.upper(), "/", None),
    ):
        ann.request(method, path, sent)
    for auth in ({"threadId": CANARY}, {"sessionId": CANARY}):
        try:
            ann.connect(auth=auth).close()
        except Refused:
            continue
    server.terminate()
    log = server.log
    assert failed in log, "an error is under its request's id"
    assert "the component's own words" in log, "which its author may read"
    lowered = log.lower()
    for secret in (CANARY, *secrets):
        assert secret.lower() not in lowered
    assert os.path.getsize(server.folder / "server.log") < 100_000
