"""Who comes into the service: keys and what ends them, browsers and other sites' pages, names, strangers."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.process import rawhttp
from tests.process.page_client import FOREIGN_HOST, Refused
from tests.process.server import environment
from tests.process.service_callers import Caller, Guarded, guarded, serving
from tests.process.serving import APPS, eventually, settings

from appbuilder.core.store import TurnEntry, TurnRecord
from appbuilder.ids import new_id
from appbuilder.serve.auth.authenticator import REVOKED_WITHIN
from appbuilder.settings import Settings
from appbuilder.store.databases import urls
from appbuilder.store.sessions.session_store import SqlStore

APP_ORIGIN = "https://app.example"
EVIL = {"Origin": "https://evil.example"}
SAID = {"message": "hello"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("access")
    with guarded(folder, LOGLEVEL="DEBUG", ACCESS_LOG="yes", CORS_ORIGINS=APP_ORIGIN) as running:
        yield running
        log = running.server.log
        for secret in running.secrets.values():
            assert secret not in log
            assert secret.removeprefix("ab_") not in log


# Credentials


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer ab_wrong"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "},
        {"X-Api-Key": "ab_wrong"}, {"X-Api-Key": ""}, {"Authorization": "Bearer a.b.c"},
        {"Authorization": "Bearer ab_" + "x" * 4000}, {"Authorization": "Bearer ab_é"},
    ],
)
def test_a_wrong_credential_is_401_whatever_else_there_is(
    service: Guarded, headers: Mapping[str, str]
) -> None:
    asked = [("POST", "/chat", SAID), ("GET", "/sessions", None), ("GET", "/user", None)]
    for caller in (service.caller(), service.browser("ann"), service.caller(host="localhost")):
        for method, path, body in asked:
            answer = caller.request(method, path, body, headers)
            assert answer.status == 401, (path, answer.body)
            assert answer.header("www-authenticate") == "Bearer"
            assert answer.json["code"] == 401
            assert answer.json["result"] is None
        with pytest.raises(Refused):
            caller.connect(headers=headers)
    error = service.caller().request("GET", "/v1/models", None, headers)
    assert error.status == 401
    assert "message" in error.json["error"]


def test_without_a_credential(service: Guarded) -> None:
    nobody = service.caller()
    for method, path, body in (
        ("POST", "/chat", SAID),
        ("POST", "/v1/chat/completions", {"model": "Known", "messages": [{"role": "user", "content": "x"}]}),
        *(("GET", path, None) for path in ("/sessions", "/runs", "/v1/models")),
    ):
        answer = nobody.request(method, path, body)
        assert answer.status == 401, (path, answer.body)
        assert answer.header("www-authenticate") == "Bearer"
    assert nobody.request("GET", "/health").status == 200
    assert nobody.request("GET", "/").status == 200, "the page, which shows the login"
    assert not nobody.cookies
    with pytest.raises(Refused):
        nobody.connect()


def test_a_key_comes_in_either_header_and_in_one_of_them(service: Guarded) -> None:
    secret = service.secrets["ann"]
    assert service.caller(headers={"X-Api-Key": secret}).chat({"do": "whoami"}).content == "ann"
    assert service.user("ann").chat({"do": "whoami"}).content == "ann"
    doubled = service.caller(secret, headers={"X-Api-Key": secret})
    assert doubled.chat("x").status == 401


# What ends a key


def test_a_revoked_key_ends_and_with_it_the_login_and_the_open_page(service: Guarded) -> None:
    key, secret = service.keys.add(f"of tom {uuid.uuid4()}", "tom")
    program, browser = service.caller(secret), service.caller()
    assert browser.log_in("tom", secret).status == 200
    body = {"message": {"do": "say", "mark": key.id, "pieces": ["a", "b"], "hold": True}, "stream": True}
    with browser.connect() as chat, rawhttp.Client(service.server.port) as client:
        assert chat.ask("hello") == "hello"
        client.post(body, {"Authorization": f"Bearer {secret}"})
        assert client.head().status == 200
        [run] = eventually(program.runs)
        assert service.keys.revoke(key.id)
        eventually(lambda: program.request("GET", "/sessions").status == 401)
        eventually(lambda: browser.request("GET", "/user").status == 401)
        assert browser.chat("x").status == 401
        # What runs goes on: it was asked for while the key was good.
        ada = service.user("ada")
        assert [each["state"] for each in ada.runs() if each["id"] == run["id"]] == ["running"]
        calls = service.server.probe()["all"]
        eventually(lambda: chat.closed.is_set() or (chat.say("still there?") and False))
        assert ada.request("POST", f"/runs/{run['id']}/stop").status == 200
    assert service.server.probe()["all"] <= calls + 1
    assert browser.log_in("tom", secret).status == 401
    with pytest.raises(Refused):
        browser.connect()


def test_a_request_two_seconds_after_a_revocation_is_refused(service: Guarded, tmp_path: Path) -> None:
    """Revoked by `appbuilder keys revoke`, in a process of its own."""
    key, secret = service.keys.add(f"of kim {uuid.uuid4()}", "kim")
    program, browser = service.caller(secret), service.caller()
    assert browser.log_in("kim", secret).status == 200
    callers = {"key": program, "cookie": browser}
    for caller in callers.values():
        assert caller.request("GET", "/sessions").status == 200
    script = str(Path(sys.executable).with_name("appbuilder"))
    command = [script, "keys", "revoke", key.id, "--database", service.database]
    subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, timeout=60, check=True)
    revoked = time.monotonic()
    accepted = dict.fromkeys(callers, 0.0)
    left = dict(callers)
    while left:
        for name, caller in tuple(left.items()):
            asked = time.monotonic()
            if caller.request("GET", "/sessions").status == 401:
                del left[name]
            else:
                accepted[name] = asked - revoked
        assert max(accepted.values()) < REVOKED_WITHIN


def test_logging_out(service: Guarded) -> None:
    browser = service.browser("ann")
    assert browser.request("GET", "/sessions").status == 200
    left = dict(browser.cookies)
    assert browser.request("POST", "/logout").status == 200
    assert set(browser.cookies.values()) == {""}
    assert browser.request("GET", "/sessions").status == 401
    browser.cookies.update(left)
    for path in ("/sessions", "/user", "/thread/x/earlier"):
        assert browser.request("GET", path).status in {401, 303}, "the old cookie has ended"


def test_a_hundred_wrong_logins_keep_nobody_out(service: Guarded) -> None:
    stranger = service.caller()
    assert {stranger.log_in("ann", f"ab_{number}").status for number in range(101)} == {401}
    assert service.browser("ann").request("GET", "/sessions").status == 200


def test_cookies_that_are_not_ours(service: Guarded) -> None:
    browser = service.browser("ann")
    [(name, cookie)] = browser.cookies.items()
    body, stamp, signature = cookie.split(".")
    swapped = f"{body}.{stamp}.{signature[::-1]}", f"{body[::-1]}.{stamp}.{signature}"
    for forged in (*swapped, f"{body}..", "", "x"):
        caller = service.caller()
        caller.cookies[name] = forged
        assert caller.request("GET", "/sessions").status == 401, forged
        with pytest.raises(Refused):
            caller.connect()


# Other sites' pages


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"http://{FOREIGN_HOST}", "https://app.example:1"])
def test_another_site_s_page_changes_nothing_and_has_no_cookie(service: Guarded, origin: str) -> None:
    browser, program = service.browser("ann"), service.user("ann")
    before = service.server.probe()["all"]
    for caller in (browser, program, service.caller()):
        for method, path in (
            ("POST", "/chat"), ("POST", "/v1/chat/completions"), ("POST", "/login"),
            ("DELETE", "/sessions/x"), ("DELETE", "/sessions?user=ann"), ("POST", "/sessions/import"),
            ("POST", "/runs/x/stop"),
            ("POST", "/admin/sessions/x/delete"), ("PUT", "/project/thread"), ("OPTIONS", "/chat"),
        ):
            answer = caller.request(method, path, SAID, {"Origin": origin})
            assert answer.status == 403, (method, path, answer.body)
            assert not [name for name, _ in answer.headers if name.lower() == "access-control-allow-origin"]
        with pytest.raises(Refused):
            caller.connect(headers={"Origin": origin})
    assert browser.request("GET", "/sessions", None, {"Origin": origin}).status == 401, "no cookie counts"
    assert program.request("GET", "/sessions", None, {"Origin": origin}).status == 200
    assert service.server.probe()["all"] == before


def test_our_own_page_s_scripts_use_the_api(service: Guarded) -> None:
    browser = service.browser("ann")
    own = {"Origin": f"http://{browser.host}", "Sec-Fetch-Site": "same-origin"}
    assert browser.request("POST", "/chat", SAID, own).content == "hello"
    assert browser.request("POST", "/chat", SAID, {**own, "Sec-Fetch-Site": "same-site"}).status == 403
    for site in ("cross-site", "same-site"):
        assert browser.request("GET", "/sessions", None, {"Sec-Fetch-Site": site}).status == 401
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert service.browser("ada").request("GET", "/admin", None, link).status == 200


def test_an_opened_origin_brings_a_key_of_its_own(service: Guarded) -> None:
    opened = {"Origin": APP_ORIGIN}
    program, browser = service.user("ann"), service.browser("ann")
    answer = program.request("POST", "/chat", SAID, opened)
    assert answer.content == "hello"
    assert answer.header("access-control-allow-origin") == APP_ORIGIN
    assert "X-Appbuilder-Request-Id" in (answer.header("access-control-expose-headers") or "")
    assert "Origin" in (answer.header("vary") or "")
    for headers in ({}, {"Authorization": "Bearer ab_wrong"}):
        refused = service.caller().request("POST", "/chat", SAID, {**opened, **headers})
        assert refused.status == 401
        assert refused.header("access-control-allow-origin") == APP_ORIGIN, "its page may read why"
    assert browser.request("POST", "/chat", SAID, opened).status == 401, "a cookie is not for it"
    for each in (answer, program.request("GET", "/sessions", None, EVIL)):
        assert each.header("access-control-allow-credentials") is None
    assert "Origin" in (program.request("GET", "/sessions").header("vary") or "")


def test_a_preflight(service: Guarded) -> None:
    wanted = "authorization,content-type"
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": wanted}
    for path in ("/chat", "/v1/chat/completions", "/sessions/x", "/nothing"):
        answer = service.caller().request("OPTIONS", path, None, {"Origin": APP_ORIGIN, **asks})
        assert answer.status == 204, path
        assert answer.header("access-control-allow-origin") == APP_ORIGIN
        assert answer.header("access-control-allow-headers") == wanted
        assert service.caller().request("OPTIONS", path, None, {**EVIL, **asks}).status == 403


def test_names_the_service_does_not_go_by(service: Guarded) -> None:
    rebound = service.caller(service.secrets["ann"], host="evil.example")
    before = service.server.probe()["all"]
    for method, path, body in (
        ("POST", "/chat", SAID), ("GET", "/sessions", None), ("GET", "/", None), ("GET", "/admin", None),
    ):
        answer = rebound.request(method, path, body)
        assert answer.status == 403, path
        assert answer.json["code"] == 403
    with pytest.raises(Refused):
        rebound.connect()
    assert rebound.request("GET", "/health").status == 200
    assert service.server.probe()["all"] == before
    with rawhttp.Client(service.server.port) as client:
        client.send(b"GET /sessions HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert client.head().status == 400


# Without authentication


def test_on_this_machine(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        local = service.caller(host="localhost")
        assert local.chat({"do": "whoami"}).content == "local"
        assert local.request("GET", "/user").json["identifier"] == "local"
        session = local.chat("hello").result["session_id"]
        assert session in local.sessions("?all=true")
        calls = service.server.probe()["all"]
        speaks_in_nobody_else_s(local, tmp_path)
        assert service.server.probe()["all"] == calls + 2, "the component is not called for a refused turn"
        for stranger in (service.caller(), service.caller(host="evil.example")):
            assert stranger.request("POST", "/chat", SAID).status == 403
            assert {stranger.request("GET", probe).status for probe in ("/health", "/ready")} == {200}
        proxied = service.caller(host="localhost", headers={"X-Forwarded-For": "1.2.3.4"})
        for method, path in (("POST", "/chat"), ("GET", "/sessions"), ("GET", "/"), ("GET", "/admin")):
            assert proxied.request(method, path, SAID if method == "POST" else None).status == 403
        with pytest.raises(Refused):
            proxied.connect()
        assert local.request("POST", "/chat", SAID, EVIL).status == 403
        assert local.request("GET", "/sessions", None, EVIL).header("access-control-allow-origin") is None


def speaks_in_nobody_else_s(local: Caller, folder: Path) -> None:
    """A database of users may be served without authentication; and a program may speak for its users."""
    bobs = begun_by("user:bob", folder)
    assert local.request("GET", f"/sessions/{bobs}").status == 200
    assert local.chat({"do": "remember", "text": "x"}, bobs).status == 404
    chat = {"X-OpenWebUI-Chat-Id": str(uuid.uuid4())}
    said = {"model": "Known", "messages": [{"role": "user", "content": "hi"}]}
    for user, status in (("ann", 200), ("ann", 200), ("ben", 404)):
        headers = {**chat, "X-OpenWebUI-User-Id": user}
        assert local.request("POST", "/v1/chat/completions", said, headers).status == status, user


def begun_by(owner: str, folder: Path) -> str:
    """A session in the database of the service."""
    store = SqlStore(urls.parse(f"sqlite:///{folder}/chat.db"), Settings())
    session = new_id()
    kept = TurnEntry(new_id(), owner, "theirs", {"input": {"content": "x"}, "answer": {"content": "x"}})
    store.commit(TurnRecord(session, new_id(), [], kept))
    store.close()
    return session


def test_where_everybody_may_come(tmp_path: Path) -> None:
    with serving(tmp_path, ALLOW_ANONYMOUS="yes", env={"SERVE_HOST": "0.0.0.0"}) as service:
        one, two, program = service.caller().enter(), service.caller().enter(), service.caller()
        assert one.cookies
        with one.connect() as chat:
            assert chat.answer(chat.do("remember", text="one")) == "one"
            session = chat.thread_id
        assert one.chat({"do": "remember", "text": "two"}, session).content == "one two"
        assert session in one.sessions()
        for other in (two, program):
            assert other.chat("x", session).status == 404
            assert other.request("GET", f"/sessions/{session}").status == 404
        assert session not in two.sessions()
        for path in ("/sessions", "/sessions?user=x", "/sessions/export", "/runs"):
            assert program.request("GET", path).status == 403, path
        open_one = program.chat({"do": "remember", "text": "one"}).result["session_id"]
        assert program.chat({"do": "remember", "text": "two"}, open_one).content == "one two"
        assert one.chat("x", open_one).status == 404
        assert len(set(sessions_of_a_history(program))) == 2, "what was said shows nobody's session"
        assert program.request("GET", "/admin").status == 404
        local = service.caller(host="localhost")
        assert {session, open_one} <= local.sessions("?all=true")
        crossing = {"Sec-Fetch-Site": "cross-site"}
        assert one.request("GET", f"/sessions/{session}", None, crossing).status == 404
        kept = dict(one.cookies)
        assert one.request("GET", "/", None, crossing).status == 200
        assert one.cookies == kept, "another site's image does not make a browser forget who it was"


def sessions_of_a_history(program: Caller) -> Iterator[str | None]:
    """Where the turns of a conversation go that the client sends whole each time."""
    said = [{"role": "user", "content": "one"}]
    for _ in range(2):
        answer = program.request("POST", "/v1/chat/completions", {"model": "Known", "messages": said})
        said += [answer.json["choices"][0]["message"], {"role": "user", "content": "two"}]
        yield answer.header("x-appbuilder-session-id")


def test_it_does_not_start_unless_it_is_said_who_may_come(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"{APPS}.service"],
        cwd=tmp_path,
        env=environment(**settings(tmp_path, SERVE_HOST="0.0.0.0"), PORT="0", PROBE="0"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "--allow-anonymous" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "chat.db").exists()


# Limits


def test_a_caller_s_rate_and_a_word_of_the_program_s(tmp_path: Path) -> None:
    """Three turns at once, and 100,000 tokens per session a day."""
    with guarded(tmp_path, RATE="18", env={"BUDGET": "100000"}) as service:
        ann, bob = service.user("ann"), service.user("bob")
        spend = {"do": "spend", "tokens": 60_000}
        session = ann.chat(spend).result["session_id"]
        assert ann.chat(spend, session).content == "spent"
        spent = ann.chat(spend, session)
        assert spent.status == 429
        assert spent.header("retry-after") == "3600"
        assert "tokens of today" in spent.json["message"]
        for caller in (ann, service.browser("ann")):
            refused = caller.chat(spend)
            assert refused.status == 429
            assert 1 <= int(refused.header("retry-after") or 0) <= 4
        assert service.user("ada").chat("x", session).status == 404, "that it has spent all of it is not told"
        named = {"model": "Known", "messages": [{"role": "user", "content": "two"}]}
        assert ann.request("POST", "/v1/chat/completions", named).status == 429
        calls = service.server.probe()["all"]
        assert calls == 2
        with service.browser("bob").connect() as chat:
            for text in ("one", "two", "three"):
                assert chat.ask(text) == text
            chat.say("four")
            assert "too many turns" in eventually(chat.errors)[0]
        assert bob.chat("five").status == 429, "the page's turns count"
        assert service.server.probe()["all"] == calls + 3
