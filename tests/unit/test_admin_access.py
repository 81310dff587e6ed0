"""Who reaches the admin page, and what it does; over its routes, on the store in memory."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.routing import Router
from starlette.testclient import TestClient
from tests.memory_store import MemoryStore

from appbuilder import clock
from appbuilder.core.api_keys import ApiKey
from appbuilder.core.conversations import Rating
from appbuilder.core.runs import LiveRun
from appbuilder.core.store import TurnEntry, TurnRecord
from appbuilder.errors import NotFound, Unauthenticated
from appbuilder.ids import new_id
from appbuilder.serve.admin import routes, views
from appbuilder.serve.auth.cache import ExpiringCache
from appbuilder.serve.auth.request_info import Identity, Receive, Scope, Send
from appbuilder.serve.http.messages import IDENTITY
from appbuilder.settings import Settings

HERE = "http://here.test"
ADMINISTRATOR = Identity("root", "user:root", sees_all_others=True)
OTHERS = [Identity("ann", "user:ann"), Identity("v", "visitor:v"), Identity("anonymous", "anonymous")]
OWN_FORM = {"origin": HERE, "sec-fetch-site": "same-origin"}
GETS = ["", "/", "/sessions/s", "/runs", "/keys", "/static/admin.css"]
POSTS = ["/sessions/s/rename", "/sessions/s/delete", "/runs/r/stop"]


class Register:
    """Live runs of all processes; notes which were to be stopped."""

    def __init__(self) -> None:
        self.live: list[LiveRun] = []
        self.stopped: list[str] = []

    def runs(self, owners: Sequence[str | None] | None) -> Sequence[LiveRun]:
        return [each for each in self.live if owners is None or each.owner in owners]

    def stop(self, run_id: str) -> bool:
        self.stopped.append(run_id)
        before = len(self.live)
        self.live = [each for each in self.live if each.id != run_id]
        return len(self.live) < before


class Desk:
    """The admin page, and what it looks at."""

    has_login = False

    def __init__(self, **settings: Any) -> None:
        self.identity: Identity | None = ADMINISTRATOR
        self.store = MemoryStore()
        self.register = Register()
        self.known: ExpiringCache[str, bool] = ExpiringCache(60)
        self.api_keys: list[ApiKey] = []
        self.name = "Echo"
        self.settings = Settings(**settings)
        service: Any = self
        self._router = Router(routes(service), redirect_slashes=False)
        self.browser = TestClient(self, base_url=HERE, follow_redirects=False)

    @property
    def keys(self) -> Any:
        return self

    @property
    def authenticator(self) -> Any:
        return self

    @property
    def page(self) -> Any:
        return self

    def list(self) -> Sequence[ApiKey]:
        return self.api_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[IDENTITY], scope["app"] = self.identity, self
        await self._router(scope, receive, send)

    def get(self, path: str = "", status: int = 200, **headers: str) -> str:
        answer = self.browser.get("/admin" + path, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.text

    def post(self, path: str, status: int = 303, headers: dict[str, str] = OWN_FORM, **form: str) -> Any:
        answer = self.browser.post("/admin" + path, data=form, headers=headers)
        assert answer.status_code == status, answer.text
        return answer

    def say(self, session_id: str, owner: str, question: str, **members: Any) -> str:
        """A turn of the service; returns its id."""
        turn_id = new_id()
        value = {"input": {"content": question}, "answer": {"content": "said"}, "state": "complete"}
        entry = TurnEntry(turn_id, owner, question, {**value, **members})
        self.store.commit(TurnRecord(session_id, new_id(), [], entry))
        return turn_id

    def runs(self, session_id: str, run_id: str) -> None:
        run = LiveRun(run_id, session_id, new_id(), "user:ann", clock.now(), "running", "h:1")
        self.register.live.append(run)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def titles(html: str) -> list[str]:
    return re.findall(r'<td class="title"><a[^>]*>([^<]*)', html)


# Who comes in


@pytest.mark.parametrize("identity", OTHERS, ids=lambda identity: identity.owner)
@pytest.mark.parametrize("path", GETS + POSTS)
def test_others_learn_nothing_of_it(desk: Desk, identity: Identity, path: str) -> None:
    desk.say("s", "user:ann", "a question")
    desk.identity = identity
    with pytest.raises(NotFound, match="Not found"):
        desk.browser.request("POST" if path in POSTS else "GET", "/admin" + path, headers=OWN_FORM)
    desk.identity = ADMINISTRATOR
    assert titles(desk.get("?owner=ann")) == ["a question"]
    assert desk.register.stopped == []


@pytest.mark.parametrize("path", GETS + POSTS)
def test_who_is_not_known_has_to_say_who_he_is(desk: Desk, path: str) -> None:
    desk.identity = None
    with pytest.raises(Unauthenticated):
        desk.browser.request("POST" if path in POSTS else "GET", "/admin" + path, headers=OWN_FORM)


def test_where_the_chat_page_has_a_login_a_browser_is_led_there() -> None:
    desk = Desk(page=True)
    desk.identity, desk.has_login = None, True
    answer = desk.browser.get("/admin")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    with pytest.raises(Unauthenticated):
        desk.post("/sessions/s/delete")
    without = Desk(page=False)
    without.identity, without.has_login = None, True
    with pytest.raises(Unauthenticated):
        without.get()


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "null"}, {"origin": "http://there.test"}, {**OWN_FORM, "sec-fetch-site": "cross-site"}],
)
def test_another_sites_form_changes_nothing(desk: Desk, path: str, headers: dict[str, str]) -> None:
    desk.say("s", "user:ann", "a question")
    desk.post(path, 403, headers, title="other")
    assert titles(desk.get("?owner=ann")) == ["a question"]
    assert desk.register.stopped == []


@pytest.mark.parametrize("path", POSTS)
def test_what_changes_something_is_no_link(desk: Desk, path: str) -> None:
    desk.say("s", "user:ann", "a question")
    with contextlib.suppress(HTTPException):  # 405, or there is no session of that name
        desk.get(path, 404)
    assert titles(desk.get("?owner=ann")) == ["a question"]
    assert desk.register.stopped == []


# Looking


def test_the_list_is_by_the_newest_turn_and_sums_up(desk: Desk) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 234, "total_tokens": 1234}
    desk.say("one", "user:ann", "first", answer={"content": "x", "token_usage": usage})
    rated = desk.say("one", "user:ann", "more", state="failed")
    desk.say("two", "user:ann", "second")
    desk.store.repository().rate(rated, Rating(good=False))
    html = desk.get("?owner=ann")
    assert titles(html) == ["second", "first"]
    line = re.sub(r"<[^>]*>|\s+", " ", html.partition(">first</a>")[2].partition("</tr>")[0])
    assert line.split()[:6] == ["1", "failed", "ann", "2", "1,234", "1"]
    desk.say("one", "user:ann", "again")
    assert titles(desk.get("?owner=ann")) == ["first", "second"]


def test_search_by_title_and_by_owner(desk: Desk) -> None:
    desk.say("a", "user:ann", "The Nile")
    desk.say("b", "user:bob", "The Nile too")
    desk.say("c", "user:ann", "The Amazon")
    desk.store.commit(TurnRecord("d", new_id(), [("query", {"content": "over POST /chat"})]))
    assert titles(desk.get("?owner=ann&q=nile")) == ["The Nile"]
    assert titles(desk.get("?owner=user:bob")) == ["The Nile too"]
    assert titles(desk.get("?owner=nobody")) == ["over POST /chat"]
    html = desk.get("?owner=ann&q=Danube")
    assert titles(html) == []
    assert "No session found" in html


def test_everybodys_sessions_are_listed(desk: Desk) -> None:
    for owner in ("user:ann", "visitor:v", "local", "anonymous"):
        desk.say(owner, owner, f"of {owner}")
    desk.store.commit(TurnRecord("d", new_id(), [("query", {"content": "of nobody"})]))
    assert set(titles(desk.get())) == {f"of {each}" for each in
                                       ("user:ann", "visitor:v", "local", "anonymous", "nobody")}


def test_a_long_list_goes_on_where_it_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "LISTED", 2)
    for number in range(5):
        desk.say(f"s{number}", "user:ann", f"t{number}")
    found, path = [], "?owner=ann"
    while path:
        html = desk.get(path)
        found.append(titles(html))
        older = re.search(r'href="/admin([^"]*)" rel="next"', html)
        path = older[1].replace("&amp;", "&") if older else ""
    assert found == [["t4", "t3"], ["t2", "t1"], ["t0"]]
    assert "not one of this list" in desk.get("?cursor=made-up&owner=ann", 400)


def test_a_long_session_is_shown_in_pages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "SHOWN_ROWS", 4)
    said = [desk.say("s", "user:ann", f"q{number}") for number in range(6)]
    for number, turn_id in enumerate(said):
        if number in {1, 5}:
            desk.store.repository().rate(turn_id, Rating(True, f"fine{number}"))
    found, path, links = [], "/sessions/s", []
    while path:
        html = desk.get(path)
        found.append(re.findall(r"(?:q|fine)\d", html.partition("<article")[2]))
        links.append(re.findall(r'rel="(prev|last)"', html))
        earlier = re.search(r'href="/admin([^"]*)" rel="prev"', html)
        path = earlier[1] if earlier else ""
    assert found == [["q4", "q5", "fine5"], ["q0", "q1", "fine1", "q2", "q3"]]
    assert links == [["prev"], ["last"]]
    assert "no such place" in desk.get("/sessions/s?before=made-up", 400)


def test_what_is_not_counted_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "COUNTED_ROWS", 3)
    for number in range(3):
        desk.say("s", "user:ann", f"q{number}")
    assert ">3</td>" in desk.get()
    desk.say("s", "user:ann", "q3")
    assert ">3+</td>" in desk.get()


def test_a_session_that_is_not_there_is_a_page_that_says_so(desk: Desk) -> None:
    assert "There is no such session" in desk.get("/sessions/none", 404)
    assert "这个会话不存在" in desk.get("/sessions/none", 404, **{"accept-language": "zh-CN,zh;q=0.9"})


def test_an_id_with_a_slash_or_a_dot_is_just_an_id(desk: Desk) -> None:
    desk.say("../a?b#c", "user:ann", "odd")
    html = desk.get("?owner=ann")
    [path] = re.findall(r'<td class="title"><a href="/admin(/sessions/[^"]*)"', html)
    assert "odd" in desk.get(path)


def test_live_runs_and_keys(desk: Desk) -> None:
    assert "Nothing is running" in desk.get("/runs")
    desk.runs("s", "r1")
    assert "Running" in desk.get("/runs")
    assert "no API keys" in desk.get("/keys")
    now = clock.now()
    desk.api_keys = [ApiKey("id1", "laptop", "ann", True, now - timedelta(days=1), now)]
    assert re.search("laptop.*ann.*Yes.*Revoked", desk.get("/keys"), re.DOTALL)


def test_every_answer_says_what_may_be_loaded(desk: Desk) -> None:
    desk.say("s", "user:ann", "q")
    for path in GETS:
        headers = desk.browser.get("/admin" + path).headers
        assert headers["content-security-policy"].startswith("default-src 'self';")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"


# Doing


def test_rename(desk: Desk) -> None:
    desk.say("s", "user:ann", "a question")
    answer = desk.post("/sessions/s/rename", title="  Another\n title ")
    assert answer.headers["location"] == "/admin/sessions/s"
    assert titles(desk.get("?owner=ann")) == ["Another title"]
    desk.post("/sessions/s/rename", 400, title=" ")
    desk.post("/sessions/none/rename", 404, title="x")
    desk.post("/sessions/s/rename", 413, title="x" * 10_000)
    desk.post("/sessions/s/rename", 415, {**OWN_FORM, "content-type": "text/plain"}, title="x")
    assert titles(desk.get("?owner=ann")) == ["Another title"]


def test_delete_stops_what_runs_in_the_session(desk: Desk) -> None:
    desk.say("s", "user:ann", "a question")
    desk.runs("s", "r1")
    desk.runs("t", "r2")
    desk.known.put("s", True)
    assert desk.post("/sessions/s/delete").headers["location"] == "/admin"
    assert desk.register.stopped == ["r1"]
    assert titles(desk.get("?owner=ann")) == []
    assert not desk.known.get("s")
    desk.post("/sessions/s/delete", 404)


def test_stop(desk: Desk) -> None:
    desk.runs("s", "r1")
    assert desk.post("/runs/r1/stop").headers["location"] == "/admin/runs"
    assert desk.register.live == []
    desk.post("/runs/r1/stop")  # has ended meanwhile: nothing to complain of
