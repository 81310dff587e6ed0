"""P9: with authentication on, a caller reads and writes only his own sessions: owner by caller by route."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.process import rawhttp
from tests.process.page_client import Chat
from tests.process.service_callers import Caller, Guarded, guarded
from tests.process.serving import eventually, rows

from appbuilder.core.store import TurnRecord
from appbuilder.settings import Settings
from appbuilder.store.databases import urls
from appbuilder.store.sessions.session_store import SqlStore

CANARY = "canary-of-the-owner"

Route = tuple[str, str, Any, dict[str, str]]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("owners"), LOGLEVEL="DEBUG") as running:
        yield running


def routes(session: str, turn: str = "x") -> list[Route]:
    """Every way to one session: method, path, body, headers. The last one deletes it."""
    said = [{"role": "user", "content": "intruding"}]
    named = {"X-Appbuilder-Session-Id": session}
    rated = {"feedback": {"forId": turn, "value": 0, "threadId": session}, "sessionId": "x"}
    return [
        ("POST", "/chat", {"message": "intruding", "session_id": session}, {}),
        ("POST", "/chat", {"message": "intruding", "session_id": session, "stream": True}, {}),
        ("POST", "/v1/chat/completions", {"model": "Known", "messages": said}, named),
        ("POST", "/v1/chat/completions", {"model": "Known", "messages": said, "stream": True}, named),
        ("POST", "/v1/responses", {"model": "Known", "input": "intruding"}, named),
        ("GET", f"/sessions/{session}", None, {}),
        ("GET", f"/sessions/{session}/export", None, {}),
        ("PATCH", f"/sessions/{session}", {"title": "mine now"}, {}),
        ("PUT", f"/sessions/{session}/turns/{turn}/rating", {"good": False}, {}),
        ("DELETE", f"/sessions/{session}/turns/{turn}/rating", None, {}),
        ("GET", f"/project/thread/{session}", None, {}),
        ("PUT", "/project/thread", {"threadId": session, "name": "mine now"}, {}),
        ("PUT", "/feedback", rated, {}),
        ("DELETE", "/feedback", {"feedbackId": turn}, {}),
        ("DELETE", "/project/thread", {"threadId": session}, {}),
        ("DELETE", f"/sessions/{session}", None, {}),
    ]


def asked(caller: Caller, route: Route) -> rawhttp.Answer:
    method, path, body, headers = route
    return caller.request(method, path, body, headers)


def told(answer: rawhttp.Answer) -> Any:
    """What an answer says, without what differs between two requests."""
    body = answer.json
    return answer.status, {**body, "request_id": ""} if "request_id" in body else body


def begun(caller: Caller) -> str:
    answer = caller.chat({"do": "remember", "text": CANARY})
    return str(answer.result["session_id"])


def turn_of(caller: Caller, session: str) -> str:
    return str(caller.request("GET", f"/sessions/{session}").result["turns"][0]["id"])


def stored(service: Guarded, session: str) -> Any:
    found = rows(f"sqlite:///{service.server.folder}/chat.db", "session_id = :s", s=session)
    return [{name: value for name, value in row.items() if name != "updated_at"} for row in found]


def nobodys(service: Guarded) -> str:
    """A session as FlaskRuntime would begin it on the same database."""
    store = SqlStore(urls.parse(f"sqlite:///{service.server.folder}/chat.db"), Settings())
    session = str(uuid.uuid4())
    store.commit(TurnRecord(session, str(uuid.uuid4()), [("query", {"content": CANARY})]))
    store.close()
    return session


def test_every_route_of_a_session_is_here(service: Guarded) -> None:
    document = service.caller().request("GET", "/openapi.json").json
    have = {(method, path) for method, path, _, _ in routes("{session_id}", "{turn_id}")}
    for path, methods in document["paths"].items():
        if "{session_id}" in path:
            assert {(method.upper(), path) for method in methods} <= have, path


@pytest.mark.parametrize("owner", ["ann", "ada", None])
def test_for_others_a_session_is_not_there(service: Guarded, owner: str | None) -> None:
    bob = service.user("bob")
    session = nobodys(service) if owner is None else begun(service.user(owner))
    turn = turn_of(service.user("ada"), session)
    before = stored(service, session)
    calls = service.server.probe()["all"]
    for route, missing in zip(routes(session, turn), routes(str(uuid.uuid4()), turn), strict=True):
        answer = asked(bob, route)
        assert answer.status == 404, (route, answer.body)
        assert CANARY not in str(answer.body)
        if route[0] != "POST":  # there one that is missing begins
            assert told(asked(bob, missing)) == told(answer), route
    for route in routes(session, turn):
        answer = asked(service.caller(), route)
        assert answer.status == 401, (route, answer.body)
        assert CANARY not in str(answer.body)
    assert stored(service, session) == before
    assert service.server.probe()["all"] == calls, "the component was not called"
    assert session not in bob.sessions()
    assert session in service.user("ada").sessions("?all=true")
    exported = bob.request("GET", "/sessions/export")
    assert exported.status == 200
    assert CANARY not in str(exported.body)


@pytest.mark.parametrize("query", ["?user=ann", "?owner=user:ann", "?owner=nobody", "?all=true"])
def test_lists_of_others_are_for_administrators(service: Guarded, query: str) -> None:
    session = begun(service.user("ann"))
    for path in (f"/sessions{query}", f"/sessions/export{query}", f"/runs{query}"):
        assert service.user("bob").request("GET", path).status == 403, path
        assert service.caller().request("GET", path).status == 401, path
        assert service.user("ada").request("GET", path).status == 200, path
    assert service.user("bob").request("DELETE", f"/sessions{query}").status in {400, 403}
    assert session in service.user("ann").sessions()


def test_the_owner_may_do_all_of_it(service: Guarded) -> None:
    for door in (service.user("ann"), service.browser("ann")):
        session = begun(door)
        turn = turn_of(door, session)
        for route in routes(session, turn):
            if route[1] == f"/sessions/{session}":
                assert asked(door, route).status == (200 if route[0] != "DELETE" else 404), route
                continue
            assert asked(door, route).status == 200, (route, asked(door, route).body)


def test_an_administrator_sees_and_deletes_but_does_not_speak(service: Guarded) -> None:
    ada = service.user("ada")
    session = begun(service.user("ann"))
    turn = turn_of(ada, session)
    for route in routes(session, turn):
        speaks, on_page = route[0] == "POST", route[1].startswith(("/project", "/feedback"))
        expected = 404 if speaks or on_page else 200
        assert asked(ada, route).status == expected, route
    assert service.user("ann").request("GET", f"/sessions/{session}").status == 404
    own = nobodys(service)
    assert ada.chat("going on", own).status == 200, "nobody's she may go on with"


def test_a_session_begun_on_the_page_goes_on_over_the_api_and_back(service: Guarded) -> None:
    browser, program = service.browser("ann"), service.user("ann")
    with browser.connect() as chat:
        chat.answer(chat.do("remember", text="one"))
        session = chat.thread_id
    assert program.chat({"do": "remember", "text": "two"}, session).content == "one two"
    named = {"X-Appbuilder-Session-Id": session}
    asks = json.dumps({"do": "remember", "text": "three"})
    body = {"model": "Known", "messages": [{"role": "user", "content": asks}]}
    answer = program.request("POST", "/v1/chat/completions", body, named)
    assert answer.json["choices"][0]["message"]["content"] == "one two three"
    with browser.connect(thread_id=session) as chat:
        assert chat.answer(chat.do("remember", text="four")) == "one two three four"
    assert browser.chat({"do": "remember", "text": "five"}, session).content == "one two three four five"
    assert session in program.sessions()


def test_a_socket_does_not_open_another_s_session(service: Guarded) -> None:
    session = begun(service.user("ann"))
    before = stored(service, session)
    with service.browser("bob").connect(thread_id=session) as intruder:
        assert remembered(intruder, "bob") == "bob"
        assert intruder.thread_id != session
        assert CANARY not in str(intruder.events)
    assert stored(service, session) == before


def remembered(chat: Chat, text: str) -> str:
    return chat.answer(chat.do("remember", text=text))


def test_a_run_is_its_owner_s(service: Guarded) -> None:
    ann, bob, ada = (service.user(name) for name in ("ann", "bob", "ada"))
    session = begun(ann)
    said = {"do": "say", "mark": str(uuid.uuid4()), "pieces": ["a"], "hold": True}
    body = {"message": said, "stream": True, "session_id": session}
    with rawhttp.Client(service.server.port) as client:
        client.post(body, {"Authorization": f"Bearer {service.secrets['ann']}"})
        assert client.head().status == 200
        [run] = eventually(ann.runs)
        for door in (bob, service.caller()):
            expected = 404 if door is bob else 401
            for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/stop")):
                assert door.request(method, f"/runs/{run['id']}{path}").status == expected
        assert bob.runs() == []
        assert bob.chat("intruding", session).status == 404, "and does not wait for it"
        assert [each["id"] for each in ada.runs()] == [run["id"]]
        assert ann.request("GET", f"/runs/{run['id']}").result["session_id"] == session
        assert ann.request("POST", f"/runs/{run['id']}/stop").status == 200
    eventually(lambda: not ann.runs())


def test_whoever_comes_first_owns_a_session(service: Guarded) -> None:
    """Another speaks in it while its first turn runs: then nothing is stored yet that says whose it is."""
    ann, bob = service.user("ann"), service.user("bob")
    session = str(uuid.uuid4())
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ann.chat, {"do": "gate", "mark": session, "text": CANARY}, session)
        eventually(ann.runs)
        second = pool.submit(bob.chat, {"do": "echo", "mark": "intruding", "text": "x"}, session)
        eventually(bob.runs)
        service.server.open_gate(session)
        assert first.result().content == CANARY
        assert second.result().status == 404
    assert service.server.probe("intruding")["calls"] == 0
    assert session in ann.sessions()
    assert session not in bob.sessions()


def test_the_admin_page_is_for_administrators(service: Guarded) -> None:
    session = begun(service.user("ann"))
    paths = ["/admin", "/admin/", f"/admin/sessions/{session}", "/admin/runs", "/admin/keys"]
    for path in paths:
        for door in (service.user("bob"), service.browser("bob")):
            answer = door.request("GET", path)
            assert answer.status == 404, path
            assert CANARY not in str(answer.body)
        answer = service.caller().request("GET", path)
        assert answer.status in {302, 303, 307, 401}, path
        for door in (service.user("ada"), service.browser("ada")):
            assert door.request("GET", path).status == 200, path
    for action in ("rename", "delete"):
        answer = service.browser("bob").request("POST", f"/admin/sessions/{session}/{action}", {"title": "x"})
        assert answer.status == 404
    assert session in service.user("ann").sessions()


def test_an_import_does_not_reach_another_s_session(service: Guarded) -> None:
    ann, bob = service.user("ann"), service.user("bob")
    session = begun(ann)
    exported = ann.request("GET", f"/sessions/{session}/export")
    before = stored(service, session)
    answer = bob.request("POST", "/sessions/import", exported.body, {"Content-Type": "application/jsonl"})
    assert answer.status != 500, answer.body
    assert stored(service, session) == before
    assert bob.request("GET", f"/sessions/{session}").status == 404


def test_who_a_caller_is_cannot_be_said_otherwise(service: Guarded) -> None:
    claims = {
        "X-Appbuilder-User-Id": "ada", "X-User": "ada", "X-Forwarded-User": "ada",
        "X-OpenWebUI-User-Id": "ada", "X-OpenWebUI-User-Name": "ada",
    }
    bob = service.caller(service.secrets["bob"], headers=claims)
    assert bob.chat({"do": "whoami"}).content == "bob"
    session = begun(bob)
    assert session in service.user("bob").sessions()
    body = {"model": "Known", "messages": [{"role": "user", "content": '{"do": "whoami"}'}]}
    answer = bob.request("POST", "/v1/chat/completions", body)
    assert answer.json["choices"][0]["message"]["content"] == "bob"
    ada = service.caller(service.secrets["ada"], headers={"X-Appbuilder-User-Id": "tom"})
    assert ada.chat({"do": "whoami"}).content == "tom", "who sees everybody's may speak for others"
