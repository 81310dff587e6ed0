"""/sessions: what each route does, for whom, and what it refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from tests.memory_store import MemoryStore
from tests.unit.service_client import OWNERS, SEE_ALL, Desk, path_of

from appbuilder.core.conversations import NewSession, Rating, all_conversations
from appbuilder.core.store import TURN_KEY, TurnEntry, TurnRecord
from appbuilder.engine import cancel_runs
from appbuilder.ids import new_id
from appbuilder.serve.routes import turn_pages
from appbuilder.serve.routes.session_exports import export
from appbuilder.testing.stores import FlakyStore

ODD_IDS = [
    "a/b", "../x", "..", ".", "a//b", "/", "%2F", "a%00b", "%", "export", "import", "s/export", "a?b#c", " ",
    "字" * 36, "x" * 36, "of the SDK" * 10, "é", "' OR 1=1 --", "\\", "a&b=c", "+", ";", "s/turns/t/rating",
    "~", "{session_id}",
]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def listed(desk: Desk, who: str = "ann", **query: Any) -> list[str]:
    return [each["session_id"] for each in desk.get("/sessions", who, **query)["sessions"]]


# Lists


def test_the_caller_s_own_are_listed(desk: Desk) -> None:
    for n in range(3):
        desk.say(f"a{n}", f"Question {n}")
    desk.say("b", "other", "bob")
    desk.say_over_flask("f", "nobody's")
    assert listed(desk) == ["a2", "a1", "a0"]
    first = desk.get("/sessions")["sessions"][0]
    assert first["owner"] == "user:ann"
    assert first["title"] == "Question 2"
    assert first["created_at"].endswith("Z")
    assert first["created_at"] <= first["updated_at"]
    assert listed(desk, "bob") == ["b"]
    assert listed(desk, "v") == []


def test_lists_come_in_pages_and_can_be_searched(desk: Desk) -> None:
    for n in range(5):
        desk.say(f"a{n}", "odd" if n % 2 else "even")
    found: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = desk.get("/sessions", limit=2, **cursor)
        found += [each["session_id"] for each in page["sessions"]]
        if page["next"] is None:
            break
        assert len(page["sessions"]) == 2
        cursor = {"cursor": page["next"]}
    assert found == ["a4", "a3", "a2", "a1", "a0"]
    assert listed(desk, search="ODD") == ["a3", "a1"]


def test_administrators_see_those_of_others(desk: Desk) -> None:
    desk.say("a", "x", "ann")
    desk.say("v", "x", "v")
    desk.say("r", "x", "root")
    desk.say_over_flask("f", "x")
    assert listed(desk, "root") == ["f", "r"]
    assert listed(desk, "root", user="ann") == ["a"]
    assert listed(desk, "root", owner="visitor:v") == ["v"]
    assert listed(desk, "root", owner="nobody") == ["f"]
    assert listed(desk, "root", all="true") == ["f", "r", "v", "a"]
    assert listed(desk, "ann", user="ann") == listed(desk, "ann", owner="user:ann") == ["a"]
    assert listed(desk, "v", owner="visitor:v") == ["v"]


@pytest.mark.parametrize("query", [
    {"user": "bob"}, {"owner": "user:bob"}, {"owner": "nobody"}, {"all": "true"}, {"user": "root"},
    {"owner": "ann"}, {"user": "user:ann"},
])
@pytest.mark.parametrize("path", ["/sessions", "/sessions/export", "/runs"])
def test_others_are_not_for_everybody(desk: Desk, path: str, query: dict[str, str]) -> None:
    assert "administrators" in desk.get(path, "ann", 403, **query)


@pytest.mark.parametrize("path", ["/sessions", "/sessions/export", "/runs"])
def test_who_is_not_known_lists_nothing(desk: Desk, path: str) -> None:
    desk.get(path, "anonymous", 403)
    desk.get(path, "anonymous", 403, owner="anonymous")
    desk.get(path, "stranger", 401)


@pytest.mark.parametrize(("path", "query"), [
    *(("/sessions", {"limit": limit}) for limit in ("0", "-1", "101", "x", "", "1.0", "+1", "٣", "9" * 400)),
    ("/sessions", {"cursor": "x"}), ("/sessions", {"cursor": ""}), ("/sessions", {"search": "x" * 301}),
    ("/sessions", {"all": "1"}), ("/sessions", {"all": ""}), ("/sessions", {"user": ""}),
    ("/sessions", {"user": "ann", "owner": "user:ann"}), ("/sessions", {"owner": "x" * 301}),
    ("/sessions", {"all": "true", "user": "ann"}),
    ("/sessions/s", {"limit": "101"}), ("/sessions/s", {"cursor": "x"}), ("/sessions/s", {"cursor": "~"}),
    ("/sessions/s", {"cursor": "2026-13-01T00:00:00.000000~x"}),
    ("/sessions/export", {"format": "xml"}), ("/sessions/s/export", {"format": ""}),
    ("/runs", {"all": "yes"}),
])
def test_bad_queries(desk: Desk, path: str, query: dict[str, str]) -> None:
    desk.say("s", "x", "root")
    desk.get(path, "root", 400, **query)
    answer = desk.client.get(path, params=dict.fromkeys(["unknown", "limits", "All"], "x"),
                             headers={"Authorization": "Bearer root"})
    assert answer.status_code == 200


# One session


def test_a_session_is_read_with_its_turns(desk: Desk) -> None:
    desk.say("s", "first", milliseconds=7)
    bad = desk.say("s", "second", state="failed", error={"kind": "ComponentError", "text": "It failed."})
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    good = desk.say("s", "third", answer={"content": [1], "token_usage": usage})
    desk.repository.rate(good, Rating(True, "yes"))
    told = desk.get("/sessions/s")
    assert (told["session_id"], told["owner"]) == ("s", "user:ann")
    assert (told["title"], told["next"]) == ("first", None)
    turns = told["turns"]
    assert [each["input"] for each in turns] == ["first", "second", "third"]
    assert [each["answer"] for each in turns] == ["FIRST", "SECOND", [1]]
    assert [each["state"] for each in turns] == ["complete", "failed", "complete"]
    assert [each["milliseconds"] for each in turns] == [7, None, None]
    assert [each["id"] for each in turns][1:] == [bad, good]
    assert turns[1]["error"] == {"kind": "ComponentError", "text": "It failed."}
    assert (turns[0]["error"], turns[0]["rating"], turns[0]["token_usage"]) == (None, None, {})
    assert turns[2]["rating"] == {"good": True, "comment": "yes"}
    assert turns[2]["token_usage"] == usage
    assert desk.client.head("/sessions/s", headers={"Authorization": "Bearer ann"}).status_code == 200


def test_a_session_of_flask_or_the_sdk_is_read(desk: Desk) -> None:
    desk.say_over_flask("f", "hello")
    desk.say("f", "and on", "ann")
    (first, second) = desk.get("/sessions/f", "root")["turns"]
    assert (first["input"], first["answer"], second["input"]) == ("hello", "HELLO", "and on")
    assert desk.get("/sessions/f", "root")["owner"] is None
    desk.get("/sessions/f", "ann", 404)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_earlier_turns_come_in_pages(desk: Desk, limit: int) -> None:
    for n in range(7):
        (desk.say if n % 3 else desk.say_over_flask)("s", f"n{n}")
        if n % 2:
            desk.repository.rate(desk.repository.rows("s", 1)[0].id, Rating(True, f"of n{n}"))
    pages: list[Any] = []
    cursor: dict[str, Any] = {}
    while True:
        page = desk.get("/sessions/s", "root", limit=limit, **cursor)
        pages.append(page["turns"])
        if page["next"] is None:
            break
        assert len(page["turns"]) == limit
        cursor = {"cursor": page["next"]}
    turns = [turn for page in reversed(pages) for turn in page]
    assert [each["input"] for each in turns] == [f"n{n}" for n in range(7)]
    rated = {each["input"]: each["rating"]["comment"] for each in turns if each["rating"]}
    assert rated == {"n1": "of n1", "n5": "of n5"}, "n3's is of its last row, which does not stand for it"


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 9), max_size=12), limit=st.integers(1, 4), own=st.booleans(),
       most=st.sampled_from([10**6, 400, 150, 20]))
def test_pages_of_turns_with_any_number_of_rows(
    sizes: list[int], limit: int, own: bool, most: int
) -> None:
    store = MemoryStore()
    for number, size in enumerate(sizes):
        rows = [(f"k{n}", {"content": f"{number}"}) for n in range(size)]
        entry = TurnEntry(new_id(), "user:ann", "", {"input": {"content": f"{number}"}, "answer": {}})
        store.commit(TurnRecord("s", new_id(), rows, entry if own else None))
    found: list[Any] = []
    cursor = None
    while True:
        page = turn_pages.newest_turns(store.repository(), "s", limit, cursor, most)
        assert len(page.turns) <= limit
        found[:0] = page.turns
        cursor = page.next
        if cursor is None:
            break
    assert [each.input for each in found if each.input is not None] == [f"{n}" for n in range(len(sizes))]


def test_a_turn_of_very_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_pages, "MOST_ROWS", 20)
    store = MemoryStore()
    for number in range(3):
        rows = [(f"k{n}", {"content": f"{number}.{n}"}) for n in range(50)]
        store.commit(TurnRecord("s", new_id(), rows))
    page = turn_pages.newest_turns(store.repository(), "s", 5, None, 10**6)
    assert [(each.input, each.answer) for each in page.turns] == [("2.30", "2.49")]
    assert page.next is not None
    for number in range(3):
        rows = [(f"k{n}", {"content": f"{number}.{n}"}) for n in range(8)]
        store.commit(TurnRecord("eights", new_id(), rows))
    page = turn_pages.newest_turns(store.repository(), "eights", 5, None, 10**6)
    assert [each.input for each in page.turns] == ["1.0", "2.0"], "of the first there is not all"
    last = turn_pages.newest_turns(store.repository(), "eights", 5, page.next, 10**6)
    assert [each.input for each in last.turns] == ["0.0"]
    assert last.next is None


def test_very_many_ratings_hide_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_pages, "MOST_ROWS", 4)
    desk = Desk()
    turns = [desk.say("s", f"n{n}") for n in range(9)]
    for turn_id in turns:
        desk.repository.rate(turn_id, Rating(True))
    found: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = desk.get("/sessions/s", limit=2, **cursor)
        found[:0] = [each["input"] for each in page["turns"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert found == [f"n{n}" for n in range(9)]


def test_a_new_title(desk: Desk) -> None:
    desk.say("s", "first")
    told = desk.ask("PATCH", "/sessions/s", json={"title": "  Another\n title " + "x" * 100})
    assert told["title"] == ("Another title " + "x" * 100)[:79] + "…"
    assert desk.get("/sessions/s")["title"] == told["title"]
    assert desk.ask("PATCH", "/sessions/s", "root", json={"title": "by root"})["owner"] == "user:ann"


@pytest.mark.parametrize("body", [{}, {"title": 1}, {"title": ""}, {"title": " \n"}, {"title": None},
                                  {"title": "x" * 1001}, [], "title", {"title": "\x00"}])
def test_a_bad_title(desk: Desk, body: Any) -> None:
    desk.say("s", "first")
    desk.ask("PATCH", "/sessions/s", status=400, json=body)
    assert desk.get("/sessions/s")["title"] == "first"


def test_a_session_is_deleted_with_what_the_component_remembers(desk: Desk) -> None:
    desk.say("s", "first")
    desk.say("t", "other")
    for each in "st":
        desk.known.put(each, True)
    assert desk.ask("DELETE", "/sessions/s") == {"session_id": "s"}
    assert [each for each in "st" if desk.known.get(each)] == ["t"]
    assert listed(desk) == ["t"]
    assert desk.store.history("s", "query", 10) == []
    assert desk.get("/sessions/s", status=404) == "There is no such session."
    desk.ask("DELETE", "/sessions/s", status=404)


def test_its_runs_are_stopped_first(desk: Desk) -> None:
    desk.say("s", "first")
    desk.register.begin("r1", "user:ann")
    desk.register.begin("r2", "user:ann", "another session")
    desk.register.lasting = 3
    desk.register.on_stop = lambda _: desk.say("s", "what the stopped run kept")
    desk.ask("DELETE", "/sessions/s")
    assert desk.register.stopped == ["r1"]
    assert [each.id for each in desk.register.live] == ["r2"]
    desk.get("/sessions/s", status=404)


def test_a_run_that_does_not_end_keeps_its_session(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel_runs, "STOP_WAIT", 0.0)
    desk.say("s", "first")
    desk.register.begin("r1", "user:ann")
    desk.register.lasting = 1000
    desk.ask("DELETE", "/sessions/s", status=409)
    desk.ask("DELETE", "/sessions", status=409, params={"user": "ann"})
    assert desk.register.stopped == ["r1", "r1"]
    assert listed(desk) == ["s"]


# Ids


@pytest.mark.parametrize("session_id", ODD_IDS)
def test_any_id_is_found(desk: Desk, session_id: str) -> None:
    turn_id = desk.say(session_id, "hello")
    desk.say("another", "x")
    path = path_of(session_id)
    if session_id in ("export", "import"):
        path = f"/sessions/%{ord(session_id[0]):x}{session_id[1:]}"
    elif session_id in (".", ".."):
        path = "/sessions/" + session_id.replace(".", "%2E")
    assert desk.get(path)["session_id"] == session_id
    assert json.loads(desk.file(path + "/export").splitlines()[0])["session_id"] == session_id
    assert desk.ask("PATCH", path, json={"title": "new"})["session_id"] == session_id
    desk.ask("PUT", f"{path}/turns/{turn_id}/rating", json={"good": True})
    assert desk.ask("DELETE", path) == {"session_id": session_id}
    assert listed(desk) == ["another"]
    desk.get(path, status=404)


@pytest.mark.parametrize(("path", "status"), [
    ("/sessions/" + "x" * 37, 404), ("/sessions/" + "x" * 1001, 400),
    ("/sessions/%00", 400), ("/sessions/a%0Ab", 400), ("/sessions/%FF", 400),
    ("/sessions/%ED%A0%80", 400), ("/sessions/", 404), ("/sessions/a/b", 404), ("/sessions//", 404),
    ("/sessions/s/exports", 404), ("/sessions/s/turns/t", 404), ("/sessions/s/turns//rating", 404),
    ("/sessions%2Fs", 404), ("/sessions/s/", 404), ("/sessionss", 404), ("/runs/", 404),
    ("/runs/" + "x" * 37, 400), ("/runs/%C3%28", 400), ("/runs/a/b", 404),
])
def test_addresses_of_nothing(desk: Desk, path: str, status: int) -> None:
    desk.say("s", "hello")
    desk.get(path, status=status)


@pytest.mark.parametrize(("path", "allowed"), [
    ("/sessions", "DELETE, GET, HEAD"), ("/sessions/s", "DELETE, GET, HEAD, PATCH"),
    ("/sessions/export", "GET, HEAD"), ("/sessions/import", "POST"), ("/sessions/s/export", "GET, HEAD"),
    ("/sessions/s/turns/t/rating", "DELETE, PUT"), ("/runs", "GET, HEAD"), ("/runs/r", "DELETE, GET, HEAD"),
    ("/runs/r/stop", "POST"),
])
def test_other_methods(desk: Desk, path: str, allowed: str) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"):
        if method not in allowed.split(", "):
            answer = desk.client.request(method, path, headers={"Authorization": "Bearer ann"})
            assert answer.status_code == 405, (method, path)
            assert answer.json()["code"] == 405
            assert answer.headers["allow"] == allowed


# Whose


ROUTES: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/sessions/{}", {}),
    ("GET", "/sessions/{}/export", {}),
    ("PATCH", "/sessions/{}", {"json": {"title": "taken over"}}),
    ("PUT", "/sessions/{}/turns/{}/rating", {"json": {"good": False}}),
    ("DELETE", "/sessions/{}/turns/{}/rating", {}),
    ("DELETE", "/sessions/{}", {}),
]


@pytest.mark.parametrize("owner", [*OWNERS, None], ids=str)
@pytest.mark.parametrize("who", [*OWNERS, "stranger"])
def test_owner_and_caller_on_every_route(owner: str | None, who: str) -> None:
    may = who == owner or who in SEE_ALL
    for method, route, more in ROUTES:
        desk = Desk()
        if owner is None:
            desk.say_over_flask("s", "secret")
            turn_id = desk.repository.rows("s", 10)[0].id
        else:
            turn_id = desk.say("s", "secret", owner)
        desk.repository.rate(turn_id, Rating(True))
        before = desk.repository.rows("s", 10)
        path = route.format("s", turn_id)
        headers = {"Authorization": f"Bearer {who}"}
        answer = desk.client.request(method, path, headers=headers, **more)
        nothing = desk.client.request(method, route.format("none", turn_id), headers=headers, **more)
        assert answer.status_code == (200 if may else 401 if who == "stranger" else 404), (method, path)
        if not may:
            assert answer.json()["message"] == nothing.json()["message"]
            assert "secret" not in answer.text
            assert desk.repository.rows("s", 10) == before
            assert desk.register.stopped == []
            found = desk.repository.find("s")
            assert found is not None
            assert found.title == "secret"


# Ratings


def test_ratings(desk: Desk) -> None:
    turn_id = desk.say("s", "x")
    path = f"/sessions/s/turns/{turn_id}/rating"
    assert desk.ask("PUT", path, json={"good": True}) == {"good": True, "comment": ""}
    desk.ask("PUT", path, json={"good": False, "comment": "why?"})
    assert desk.get("/sessions/s")["turns"][0]["rating"] == {"good": False, "comment": "why?"}
    assert desk.ask("DELETE", path) is None
    assert desk.get("/sessions/s")["turns"][0]["rating"] is None
    assert desk.ask("DELETE", path, status=404) == "This turn has no rating."
    desk.say("t", "x")
    for wrong in (f"/sessions/t/turns/{turn_id}/rating", f"/sessions/s/turns/{new_id()}/rating"):
        assert desk.ask("PUT", wrong, status=404, json={"good": True}).startswith("There is no such turn")
        desk.ask("DELETE", wrong, status=404)


@pytest.mark.parametrize("body", [
    {}, {"good": 1}, {"good": "yes"}, {"good": None}, {"good": True, "comment": 1},
    {"good": True, "comment": None}, {"good": True, "comment": "x" * 4001}, [],
])
def test_bad_ratings(desk: Desk, body: Any) -> None:
    turn_id = desk.say("s", "x")
    desk.ask("PUT", f"/sessions/s/turns/{turn_id}/rating", status=400, json=body)


# Files


def test_out_and_in_again(desk: Desk) -> None:
    turn_id = desk.say("s", "hello")
    desk.say("s", "and on")
    desk.repository.rate(turn_id, Rating(False, "no"))
    desk.say("t", "other")
    desk.say("b", "bob's", "bob")
    file = desk.file("/sessions/export")
    kinds = [json.loads(line)["session_id"] for line in file.splitlines()]
    assert set(kinds) == {"s", "t"}
    other = Desk()
    told = other.bring_in(file, "bob")
    assert [each["session_id"] for each in told["imported"]] == ["t", "s"]
    assert told["existing"] == []
    there, here = other.get("/sessions/s", "bob"), desk.get("/sessions/s")
    assert (there["owner"], here["owner"]) == ("user:bob", "user:ann")
    own = ("id", "created_at")
    assert [{k: v for k, v in each.items() if k not in own} for each in there["turns"]] == [
        {k: v for k, v in each.items() if k not in own} for each in here["turns"]]
    assert there["turns"][0]["rating"] == {"good": False, "comment": "no"}
    assert [each["content"] for each in other.store.history("s", "query", 9)] == ["hello", "and on"]
    assert other.bring_in(file, "bob", 400).startswith("All sessions in the file exist")
    assert other.bring_in(file + desk.file("/sessions/export", "bob"), "bob") == {
        "imported": [{"session_id": "b", "rows": 2}], "existing": ["t", "s"], "empty": 0}


def test_one_session_under_another_id(desk: Desk) -> None:
    desk.say("s", "hello")
    (told,) = desk.bring_in(desk.file("/sessions/s/export"), ids="new")["imported"]
    assert told["session_id"] != "s"
    assert [each["content"] for each in desk.store.history(told["session_id"], "query", 9)] == ["hello"]
    assert set(listed(desk)) == {"s", told["session_id"]}


def test_openai_s_messages(desk: Desk) -> None:
    desk.say("s", "hello")
    desk.say("s", "more")
    file = desk.file("/sessions/s/export", format="openai")
    assert json.loads(file)["messages"][:2] == [
        {"role": "user", "content": "hello"}, {"role": "assistant", "content": "HELLO"}]
    assert desk.file("/sessions/export", format="openai") == file
    (told,) = desk.bring_in(file)["imported"]
    turns = desk.get(path_of(told["session_id"]))["turns"]
    assert [(each["input"], each["answer"]) for each in turns] == [("hello", "HELLO"), ("more", "MORE")]


def test_owners_stay_for_administrators_alone(desk: Desk) -> None:
    desk.say("s", "x", "bob")
    file = desk.file("/sessions/export", "root", all="true")
    other = Desk()
    other.bring_in(file, "ann", 403, all="true")
    other.bring_in(file, "root", all="true")
    assert listed(other, "bob") == ["s"]
    assert other.bring_in(file, "ann", 400), "it is bob's, and stays his"


def test_rows_the_service_itself_remembers_come_from_administrators_alone(desk: Desk) -> None:
    desk.store.commit(TurnRecord("s", new_id(), [("_appbuilder.app", {"conversation": "c"})],
                                 TurnEntry(new_id(), "user:ann", "x", {"input": {}, "answer": {}})))
    file = desk.file("/sessions/s/export")
    ours: list[tuple[str, dict[str, Any], list[str]]] = [
        ("ann", {}, [TURN_KEY]), ("root", {"all": "true"}, ["_appbuilder.app", TURN_KEY])
    ]
    for who, query, keys in ours:
        other = Desk()
        other.bring_in(file, who, **query)
        assert [row.key for row in other.repository.rows("s", 9)] == keys


@pytest.mark.parametrize("file", [
    b"", b"\n\n", b"{}", b"[]", b"null", b'{"type": "row"}', b"\xff", b'{"messages": 1}',
    b"{\"a\":1,\"a\":1}",
    b'{"messages": [{"role": "user", "content": 1}]}', b"[" * 100_000,
])
def test_a_file_that_cannot_be_read_is_refused_whole(desk: Desk, file: bytes) -> None:
    good = b'{"messages": [{"role": "user", "content": "hello"}]}\n'
    desk.bring_in(file, status=400)
    if file.strip():
        desk.bring_in(good + file, status=400)
    assert listed(desk) == []


def test_other_bodies(desk: Desk) -> None:
    good = b'{"messages": [{"role": "user", "content": "hello"}]}'
    path = "/sessions/import"
    for kind in ("text/plain", "", "multipart/form-data", "application/json2"):
        desk.ask("POST", path, status=415, content=good, headers={"Content-Type": kind})
    desk.ask("POST", path, status=415, content=good,
             headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    small = Desk(max_body=len(good))
    assert len(small.bring_in(good)["imported"]) == 1
    small.bring_in(good + b"\n", status=413)
    told = desk.ask("POST", path, content=good, headers={"Content-Type": "application/jsonl"})
    assert len(told["imported"]) == 1
    desk.bring_in(good, status=400, ids="other")


def test_a_session_that_comes_between(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.say("s", "x", "bob")
    desk.say("t", "x", "bob")
    file = desk.file("/sessions/export", "bob")
    other = Desk()
    repository = other.repository
    importing = repository.import_sessions

    def slow(sessions: Sequence[NewSession]) -> Sequence[bool]:
        assert {each.session_id for each in sessions} == {"s", "t"}, "in one transaction"
        other.say("s", "first", "bob")
        return importing(sessions)

    monkeypatch.setattr(repository, "import_sessions", slow)
    told = other.bring_in(file)
    assert (told["imported"], told["existing"]) == ([{"session_id": "t", "rows": 2}], ["s"])
    assert other.get("/sessions/s", "bob")["title"] == "first"


@pytest.mark.parametrize("form", ["jsonl", "openai"])
def test_an_export_is_read_as_it_is_sent(form: str) -> None:
    store = FlakyStore(MemoryStore())
    desk = Desk(store)
    for n in range(400):
        desk.say(f"s{n}", "x" * 1000)
    for n in range(400):
        desk.say("long", f"{n}" + "y" * 1000)
    scope = {"type": "http", "method": "GET", "query_string": f"format={form}".encode(), "headers": []}
    for sessions in (all_conversations(desk.repository, None), [desk.repository.find("long")]):
        store.calls.clear()
        answer: Any = asyncio.run(export(Request(scope), desk.repository, filter(None, sessions)))
        before = store.calls["read_on"]

        async def whole(body: Any = answer.body_iterator) -> bytes:
            return b"".join([part async for part in body])

        assert asyncio.run(whole()).count(b"x" * 1000 if before > 1 else b"y" * 1000) >= 400
        assert store.calls["read_on"] > 3 * before, "most was read after the first bytes were there"


def test_an_export_whose_database_is_lost(desk: Desk) -> None:
    store = FlakyStore(MemoryStore())
    flaky = Desk(store)
    for n in range(3):
        flaky.say(f"s{n}", "x")
    store.fail("page")
    flaky.get("/sessions/export", status=503)
    store.fail("find")
    flaky.get("/sessions/s1/export", status=503)
    assert flaky.file("/sessions/export").count(b'"session"') == 3
    store.calls.clear()
    answer = flaky.client.head("/sessions/export", headers={"Authorization": "Bearer ann"})
    assert store.calls["page"] == 0
    assert (answer.status_code, answer.content) == (200, b"")
    assert "attachment" in answer.headers["content-disposition"]


# A user


def test_a_user_is_erased(desk: Desk) -> None:
    desk.say("a1", "x")
    desk.say("a2", "x")
    desk.say("b", "x", "bob")
    desk.ask("DELETE", "/sessions/a2")
    desk.register.begin("r1", "user:ann", "new")
    desk.register.begin("r2", "user:bob", "b")
    desk.known.put("a1", True)
    assert desk.ask("DELETE", "/sessions", params={"user": "ann"}) == {"sessions": 2}
    assert not desk.known.get("a1")
    assert desk.register.stopped == ["r1"]
    assert (listed(desk), listed(desk, "bob")) == ([], ["b"])
    assert desk.transcripts.forgotten == ["user:ann"]
    assert desk.ask("DELETE", "/sessions", "root", params={"owner": "user:bob"}) == {"sessions": 1}
    assert desk.repository.find("b") is None


@pytest.mark.parametrize(("who", "query", "status"), [
    ("ann", {}, 400), ("root", {}, 400), ("root", {"all": "true"}, 400), ("ann", {"user": ""}, 400),
    ("ann", {"user": "bob"}, 403), ("ann", {"owner": "nobody"}, 403), ("v", {"user": "v"}, 403),
    ("anonymous", {"owner": "anonymous"}, 403), ("stranger", {"user": "ann"}, 401),
    ("v", {"owner": "visitor:v"}, 200), ("local", {"owner": "nobody"}, 200),
])
def test_who_may_erase_whom(desk: Desk, who: str, query: dict[str, str], status: int) -> None:
    desk.say("a", "x")
    desk.ask("DELETE", "/sessions", who, status, params=query)
    assert listed(desk) == ["a"]
