"""Who reaches what of a page: routes, headers, origins, cookies, and other people's conversations."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.process import page_client, rawhttp
from tests.process.page_client import FOREIGN_HOST, Browser, Chat, PageServer, Refused
from tests.process.serving import eventually

USERS = {"ann": "secret-of-ann", "bob": "secret-of-bob", "ada": "secret-of-ada"}
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")
READ = {"GET", "HEAD"}
OURS = {
    "/": READ,
    "/login": {*READ, "POST"},
    "/logout": {"POST"},
    "/health": READ,
    "/auth/config": READ,
    "/favicon": READ,
    "/logo": READ,
    "/avatars/x": READ,
    "/thread/x": READ,
    "/page.css": READ,
    "/favicon.ico": READ,
}
PASSED = {
    "/assets/x": READ,
    "/ws/socket.io": {"GET", "POST"},
    "/ws/socket.io/": {"GET", "POST"},
    "/user": {"GET"},
    "/set-session-cookie": {"POST"},
    "/project/translations": {"GET"},
    "/project/settings": {"GET"},
    "/project/threads": {"POST"},
    "/project/thread": {"PUT", "DELETE"},
    "/project/thread/x": {"GET"},
    "/feedback": {"PUT", "DELETE"},
}
SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
WALK = """
import json, sys
from appbuilder.serve.page.chainlit_setup import load
from appbuilder.settings import Settings
chainlit = load(Settings(cache_dir=sys.argv[1]))
def paths(routes):
    for route in routes:
        if hasattr(route, "original_router"):
            yield from paths(route.original_router.routes)
        else:
            yield route.path
print(json.dumps(list(paths(chainlit.server.app.routes))))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    with page_client.serve(tmp_path_factory.mktemp("open")) as running:
        yield running


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    page = {"users": USERS, "administrators": ["ada"]}
    with page_client.serve(tmp_path_factory.mktemp("users"), page=page) as running:
        yield running


def logged_in(server: PageServer, name: str) -> Browser:
    browser = server.browser(FOREIGN_HOST)
    assert browser.log_in(name, USERS[name]).status == 200
    return browser


def is_ours(answer: rawhttp.Answer, status: int) -> bool:
    """Whether this is one of our errors, as JSON."""
    return (
        answer.status == status
        and answer.header("content-type") == "application/json"
        and answer.json["code"] == status
        and len(answer.json["request_id"]) == 36
    )


# Routes


def chainlit_paths(folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", WALK, str(folder)], capture_output=True, check=True, text=True
    )
    found: list[str] = json.loads(done.stdout)
    return found


def filled(path: str) -> str:
    """A path with something in each of its places."""
    parts = ["x" if part.startswith("{") else part for part in path.split("/")]
    return "/".join(parts)


def test_what_is_not_used_is_not_there(server: PageServer, tmp_path: Path) -> None:
    paths = {filled(path) for path in chainlit_paths(tmp_path)}
    assert len(paths) > 30
    assert {"/mcp", "/project/file", "/project/action", "/auth/jwt", "/public/x", "/project/share/x"} <= paths
    browser = server.browser().enter()
    for path in sorted({*paths, *OURS, *PASSED, "/openapi.json", "/docs", "/x/y", "/copilot/x", "/.env"}):
        allowed = OURS.get(path, set()) | PASSED.get(path, set())
        for method in METHODS:
            if method in allowed:
                continue
            with rawhttp.Client(server.port) as client:
                client.send(
                    f"{method} {path} HTTP/1.1\r\nHost: {browser.host}\r\nContent-Length: 0\r\n\r\n".encode()
                )
                response = client.head()
            assert response.status in {404, 405}, (method, path)
            assert response.headers["content-type"] == "application/json", (method, path)
            if path in PASSED and path not in OURS:
                assert response.status == 405, (method, path)
                assert set(response.headers["allow"].split(", ")) == PASSED[path]


def test_what_is_used_is_there(server: PageServer) -> None:
    browser = server.browser().enter()
    for path in (
        "/",
        "/login",
        "/thread/x",
        "/health",
        "/auth/config",
        "/favicon",
        "/logo",
        "/avatars/x",
        "/user",
        "/project/settings",
        "/project/translations?language=zh-CN",
        "/page.css",
    ):
        assert browser.request("GET", path).status == 200, path
    script = browser.request("GET", "/").body.partition(b'src="/assets/')[2].partition(b'"')[0].decode()
    asset = browser.request("GET", f"/assets/{script}")
    assert asset.status == 200
    assert asset.header("cache-control") == "public, max-age=31536000, immutable"
    assert browser.request("POST", "/set-session-cookie", {"session_id": "x"}).status == 200
    assert browser.request("POST", "/logout").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../x",
        "/assets/..%2f..%2f..%2fserver.py",
        "/assets/%2e%2e/%2e%2e/server.py",
        "/assets/%00",
        "/%00",
        "/thread/x/%ff",
        "/assets//etc/passwd",
        "/assets/" + "a" * 5000,
        "//",
        "/project/thread/",
        "/project//threads",
        "/user/",
        "/USER",
        "/project/thread/%00",
        "/project/thread/" + "a" * 5000,
        "/%2e%2e/user",
        "/avatars",
        "/project/translations?language=../../x",
        "/project/settings?chat_profile=x&language=%00",
    ],
)
def test_odd_paths(server: PageServer, path: str) -> None:
    answer = server.browser().enter().request("GET", path)
    assert answer.status in {400, 404}, path
    assert is_ours(answer, answer.status), answer.body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b'"x"',
        b"\xff",
        b'{"threadId": "\\ud800", "name": "\\ud800"}',
        b'{"threadId": 5}',
        b'{"pagination": 5}',
        b"[" * 100_000,
    ],
)
def test_odd_bodies(server: PageServer, body: bytes) -> None:
    browser = server.browser().enter()
    log = len(server.log)
    for method, path in (
        ("POST", "/project/threads"),
        ("PUT", "/project/thread"),
        ("DELETE", "/project/thread"),
        ("PUT", "/feedback"),
        ("DELETE", "/feedback"),
    ):
        answer = browser.request(method, path, body)
        assert answer.status in {400, 404}, (method, path, answer.body)
        assert is_ours(answer, answer.status), (method, path, answer.body)
    assert "Traceback" not in server.log[log:]


def test_a_body_without_end(server: PageServer) -> None:
    browser = server.browser().enter()
    for method, path in (("POST", "/project/threads"), ("PUT", "/feedback"), ("POST", "/set-session-cookie")):
        answer = browser.request(method, path, b'{"x": "' + b"x" * 2_000_000 + b'"}')
        assert is_ours(answer, 413), (path, answer.body[:200])


def test_security_headers_are_on_every_answer(server: PageServer) -> None:
    browser = server.browser().enter()
    answers = [
        browser.request("GET", "/"),
        browser.request("GET", "/favicon"),
        browser.request("GET", "/nothing"),
        browser.request("GET", "/user"),
        browser.request("POST", "/nothing"),
        browser.request("PUT", "/feedback", b"{"),
        browser.request("GET", "/assets/nothing"),
        browser.request("GET", "/ws/socket.io/"),
        browser.request("POST", "/logout", headers={"Origin": "http://evil.example"}),
        browser.request("HEAD", "/"),
        server.browser(FOREIGN_HOST).request("GET", "/"),
    ]
    for answer in answers:
        names = [name.lower() for name, _ in answer.headers]
        for name, value in SECURITY.items():
            assert names.count(name) == 1, name
            assert answer.header(name) == value
        policy = answer.header("content-security-policy")
        assert policy is not None
        assert "default-src 'self'" in policy
        assert names.count("content-security-policy") == 1
        assert not any(name.startswith("access-control-") for name in names)
        assert "server" not in names
        assert answer.header("cache-control") == "no-store"


# Origins


def test_another_site_s_page_may_not_speak(server: PageServer) -> None:
    browser = server.browser().enter()
    before = server.probe()["all"]
    for origin in ("http://evil.example", "null", f"http://localhost:{server.port + 1}", "http://localhost"):
        headers = {"Origin": origin}
        for method, path in (
            ("POST", "/project/threads"),
            ("PUT", "/project/thread"),
            ("DELETE", "/project/thread"),
            ("PUT", "/feedback"),
            ("POST", "/logout"),
            ("POST", "/login"),
            ("POST", "/set-session-cookie"),
            ("GET", "/ws/socket.io/?EIO=4&transport=polling"),
            ("POST", "/ws/socket.io/?EIO=4&transport=polling&sid=x"),
            ("OPTIONS", "/user"),
        ):
            assert is_ours(browser.request(method, path, {}, headers), 403), (origin, method, path)
        for transport in ("websocket", "polling"):
            with pytest.raises(Refused):
                browser.connect(transport=transport, headers=headers)
    assert server.probe()["all"] == before
    for transport in ("websocket", "polling"):
        with browser.connect(transport=transport, headers={"Origin": f"http://{browser.host}"}) as chat:
            assert chat.ask("ours") == "ours"


# Identities


def test_without_users_there_is_a_local_user_and_visitors(server: PageServer) -> None:
    local, one, two = server.browser().enter(), server.visitor(), server.visitor()
    assert not local.cookies
    names = [each.request("GET", "/user").json["identifier"] for each in (local, one, two)]
    assert names[0] == "local"
    assert len(set(names)) == 3
    assert one.request("GET", "/user").json["identifier"] == names[1]
    for headers in ({"X-Forwarded-For": "1.2.3.4"}, {"Via": "1.1 proxy"}, {"Forwarded": "for=1.2.3.4"}):
        proxied = server.browser(headers=headers)
        assert proxied.request("GET", "/user").json["identifier"].startswith("visitor:")


def forged_token(secret: str, name: str) -> str:
    """What Chainlit would know somebody by."""
    import jwt

    claims = {
        "identifier": name,
        "display_name": name,
        "metadata": {},
        "exp": 4_000_000_000,
        "iat": 1_700_000_000,
    }
    return jwt.encode(claims, secret, algorithm="HS256")


def test_what_the_client_says_of_itself_changes_nothing(server: PageServer, users: PageServer) -> None:
    tokens = [forged_token(secret, "user:ann") for secret in ("x" * 32, "secret" * 8)]
    tokens += ["x", forged_token("x" * 32, "local").rpartition(".")[0] + "."]
    for token in tokens:
        for headers in (
            {"Cookie": f"access_token={token}"},
            {"Cookie": f"access_token_0={token}; access_token={token}"},
            {"Authorization": f"Bearer {token}"},
            {"Cookie": "X-Chainlit-Session-id=x", "X-User": "ann", "X-Chainlit-User": "ann"},
        ):
            assert users.browser().request("GET", "/user", headers=headers).status == 401, headers
            found = server.browser(FOREIGN_HOST).request("GET", "/user", headers=headers)
            assert found.json["identifier"].startswith("visitor:")
            assert server.browser().request("GET", "/user", headers=headers).json["identifier"] == "local"
            with pytest.raises(Refused):
                users.browser().connect(headers=headers)


def test_cookies_are_for_this_host_alone(server: PageServer, users: PageServer) -> None:
    visitor = server.browser(FOREIGN_HOST).request("GET", "/")
    login = users.browser(FOREIGN_HOST).log_in("ann", USERS["ann"])
    for answer in (visitor, login):
        cookie = (answer.header("set-cookie") or "").lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert "domain=" not in cookie
        assert "secure" not in cookie
    proxied = server.browser(FOREIGN_HOST, headers={"X-Forwarded-Proto": "https"}).request("GET", "/")
    assert "secure" in (proxied.header("set-cookie") or "").lower()


def test_users_log_in(users: PageServer) -> None:
    for host in ("localhost", FOREIGN_HOST):
        nobody = users.browser(host)
        assert nobody.request("GET", "/").status == 200, "the page itself, which shows the login"
        assert nobody.request("GET", "/user").status == 401
        assert (
            nobody.request("POST", "/project/threads", {"pagination": {"first": 1}, "filter": {}}).status
            == 401
        )
        assert nobody.thread("x").status == 401
        for transport in ("websocket", "polling"):
            with pytest.raises(Refused):
                nobody.connect(transport=transport)
        assert nobody.log_in("ann", "wrong").status == 401
        assert nobody.log_in("nobody", USERS["ann"]).status == 401
        assert not nobody.cookies
    ann = logged_in(users, "ann")
    assert ann.request("GET", "/user").json["identifier"] == "user:ann"
    with ann.connect() as chat:
        assert chat.ask("hello") == "hello"
    left = dict(ann.cookies)
    assert ann.request("POST", "/logout").status == 200
    assert sorted(map(bool, ann.cookies.values())) == [False, True], "the browser is known, not its user"
    assert ann.request("GET", "/user").status == 401
    ann.cookies.update(left)
    assert ann.request("GET", "/user").status == 401, "the old cookie has ended"
    with pytest.raises(Refused):
        ann.connect()


def test_logging_out_closes_the_pages_of_that_login(users: PageServer) -> None:
    ann, again = logged_in(users, "ann"), logged_in(users, "ann")
    with ann.connect() as chat, again.connect() as other:
        assert chat.ask("hello") == other.ask("hello") == "hello"
        assert ann.request("POST", "/logout").status == 200
        eventually(chat.closed.is_set)
        assert other.ask("still here") == "still here"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "application/x-www-form-urlencoded"),
        (b"username=ann", "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
        (b"x" * 1000, "multipart/form-data; boundary=b"),
        (
            b'--b\r\nContent-Disposition: form-data; name="username"; filename="x"\r\n\r\nann\r\n--b--',
            "multipart/form-data; boundary=b",
        ),
        (b"&".join(b"f%d=x" % number for number in range(1000)), "application/x-www-form-urlencoded"),
    ],
)
def test_odd_logins(users: PageServer, body: bytes, kind: str) -> None:
    log = len(users.log)
    answer = users.browser().request("POST", "/login", body, {"Content-Type": kind})
    assert is_ours(answer, 400), answer.body
    assert "Traceback" not in users.log[log:]


# Others' conversations


@pytest.fixture
def people(users: PageServer) -> dict[str, Browser]:
    return {name: logged_in(users, name) for name in USERS}


def remembered(chat: Chat, text: str) -> str:
    return chat.answer(chat.do("remember", text=text))


def test_a_conversation_is_its_owner_s(users: PageServer, people: dict[str, Browser]) -> None:
    ann, bob, ada = people["ann"], people["bob"], people["ada"]
    with ann.connect() as chat:
        assert remembered(chat, "ann-one") == "ann-one"
        thread, turn = (
            chat.thread_id,
            next(step["id"] for name, step in chat.events if name == "update_message"),
        )
    said = ann.thread(thread)
    assert said.status == 200
    missing = bob.thread(str(uuid.uuid4()))
    for other in (bob, ada):
        assert thread not in {each["id"] for each in other.threads()}
        for method, path, body in (
            ("GET", f"/project/thread/{thread}", None),
            ("PUT", "/project/thread", {"threadId": thread, "name": "mine now"}),
            ("DELETE", "/project/thread", {"threadId": thread}),
            (
                "PUT",
                "/feedback",
                {"feedback": {"forId": turn, "value": 0, "threadId": thread}, "sessionId": "x"},
            ),
            ("DELETE", "/feedback", {"feedbackId": turn}),
        ):
            answer = other.request(method, path, body)
            assert is_ours(answer, 404), (method, path, answer.body)
        hidden = other.thread(thread).json
        assert {**hidden, "request_id": ""} == {**missing.json, "request_id": ""}, (
            "it cannot be told from none"
        )
    assert ann.thread(thread).json == said.json
    assert ann.request("PUT", "/project/thread", {"threadId": thread, "name": "my own"}).status == 200
    assert ann.threads()[0]["name"] == "my own"
    rated = {"feedback": {"forId": turn, "value": 1, "comment": "good", "threadId": thread}, "sessionId": "x"}
    assert ann.request("PUT", "/feedback", rated).status == 200
    steps = ann.thread(thread).json["steps"]
    assert [step["feedback"]["value"] for step in steps if step.get("feedback")] == [1]
    assert ann.request("DELETE", "/feedback", {"feedbackId": turn}).status == 200
    assert ann.request("DELETE", "/project/thread", {"threadId": thread}).status == 200
    assert is_ours(ann.thread(thread), 404)
    assert thread not in {each["id"] for each in ann.threads()}


@pytest.mark.parametrize("hello", [True, False])
@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_socket_does_not_open_another_s_conversation(
    users: PageServer, people: dict[str, Browser], hello: bool, transport: str
) -> None:
    """Whether or not it says hello before it speaks."""
    ann, bob = people["ann"], people["bob"]
    with ann.connect() as chat:
        remembered(chat, "canary-of-ann")
        thread = chat.thread_id
        waiting = chat.do("gate", mark=thread, text="live-canary")
        chat.wait(
            lambda events: any(name == "new_message" and step["parentId"] == waiting for name, step in events)
        )
        with bob.connect(thread_id=thread, hello=hello, transport=transport) as intruder:
            intruder.emit("stop")
            assert remembered(intruder, "bob") == "bob", "not in ann's history"
            assert intruder.thread_id != thread
            seen = str(intruder.events)
        assert not chat.ended(waiting), "somebody else stopped it"
        users.open_gate(thread)
        assert chat.answer(waiting) == "live-canary"
        assert remembered(chat, "again") == "canary-of-ann again"
    assert "canary" not in seen
    assert [step["output"] for step in ann.thread(thread).json["steps"] if step["output"]][
        -1
    ] == "canary-of-ann again"


def test_one_that_is_its_own_goes_on(users: PageServer, people: dict[str, Browser]) -> None:
    with people["ann"].connect() as chat:
        remembered(chat, "one")
        thread = chat.thread_id
    with people["ann"].connect(thread_id=thread) as chat:
        assert chat.wait_for("resume_thread")["id"] == thread
        assert remembered(chat, "two") == "one two"
    with people["ann"].connect(thread_id=thread, hello=False) as chat:
        assert remembered(chat, "three") == "one two three"


def test_a_session_of_another_does_not_go_on(users: PageServer, people: dict[str, Browser]) -> None:
    with people["ann"].connect() as chat:
        remembered(chat, "one")
        for transport in ("websocket", "polling"):
            with pytest.raises(Refused):
                people["bob"].connect(session_id=chat.session_id, transport=transport)
        with people["ann"].connect(session_id=chat.session_id) as again:
            assert remembered(again, "two") == "one two"


def test_a_user_who_waits_for_another_is_not_named(users: PageServer, people: dict[str, Browser]) -> None:
    """Two conversations go on at once, each with its own."""
    with people["ann"].connect() as one, people["bob"].connect() as two:
        asked = one.do("gate", mark="of-ann", text="for ann")
        assert two.ask("for bob") == "for bob"
        users.open_gate("of-ann")
        assert one.answer(asked) == "for ann"
        assert "ann" not in str(two.events)
        assert "bob" not in str(one.events)


def test_what_the_service_holds_is_the_administrator_s(users: PageServer, people: dict[str, Browser]) -> None:
    """A conversation of POST /chat on the same database."""
    from appbuilder.core.store import TurnRecord
    from appbuilder.settings import Settings
    from appbuilder.store.databases import urls
    from appbuilder.store.sessions.session_store import SqlStore

    store = SqlStore(urls.parse(f"sqlite:///{users.folder}/chat.db"), Settings())
    session = f"chat-{uuid.uuid4()}"[:36]
    store.commit(
        TurnRecord(session, "r", [("query", {"content": "asked over chat"}), ("answer", {"content": "a"})])
    )
    store.close()
    assert [step["output"] for step in people["ada"].thread(session).json["steps"]] == [
        "asked over chat",
        "",
        "a",
    ]
    assert people["ada"].threads()[0]["name"] == "asked over chat"
    for name in ("ann", "bob"):
        assert is_ours(people[name].thread(session), 404)
        assert session not in {each["id"] for each in people[name].threads()}


def test_users_of_a_proxy(tmp_path: Path) -> None:
    page: dict[str, Any] = {"user_header": {"name": "X-User"}}
    with page_client.serve(tmp_path, page=page) as server:
        ann = server.browser(FOREIGN_HOST, headers={"X-User": "ann"})
        with ann.connect() as chat:
            assert chat.ask("hello") == "hello"
            thread = chat.thread_id
        assert [each["name"] for each in ann.threads()] == ["hello"]
        assert server.browser(FOREIGN_HOST, headers={"X-User": "bob"}).thread(thread).status == 404
        assert server.browser().thread(thread).status == 401
        assert is_ours(ann.log_in("ann", "x"), 404)
    page["user_header"]["proxies"] = ["10.0.0.0/8"]
    with page_client.serve(tmp_path, page=page) as server:
        forged = server.browser(FOREIGN_HOST, headers={"X-User": "ann"})
        assert forged.thread(thread).status == 401
        with pytest.raises(Refused):
            forged.connect()


# The last of all: for a minute nobody new can log in as bob.


def test_wrong_passwords_keep_nobody_out_who_was_here_before(users: PageServer) -> None:
    bob = logged_in(users, "bob")
    stranger = users.browser()
    answers = {stranger.log_in("bob", "wrong").status for _ in range(12)}
    assert answers == {401, 429}
    assert stranger.log_in("bob", USERS["bob"]).status == 429
    assert bob.log_in("bob", USERS["bob"]).status == 200
    assert all(stranger.log_in(f"nobody {number}", "wrong").status == 401 for number in range(100))
    assert stranger.log_in("ann", USERS["ann"]).status == 200
