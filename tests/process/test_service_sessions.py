"""One session through any door of a running service: begun, gone on with, carried away, and taken out."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.process.openai_serving import Talking, talking
from tests.process.rawhttp import JSON, Client
from tests.process.serving import eventually, rows

SESSION = "a/b ?字"
LINES = "application/x-ndjson"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talking]:
    with talking(tmp_path_factory.mktemp("sessions"), AUTH="hook", HOSTS="test") as running:
        yield running


def ask(
    port: int, method: str, path: str, who: str, body: Any = None, kind: str = JSON, status: int = 200
) -> Any:
    """The answer's result; of an error its message; of a file its lines."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    headers = [("Authorization", f"Bearer {who}"), *([("Content-Type", kind)] if data else [])]
    with Client(port) as client:
        client.request(method, path, data, headers)
        answer = client.answer()
    assert answer.status == status, answer.body
    if answer.header("Content-Type") == LINES:
        return answer.body
    return answer.json["result"] if status == 200 else answer.json["message"]


def say(port: int, text: str, who: str, session: str) -> list[str]:
    """Says something over POST /chat; what the component remembers from before."""
    result = ask(port, "POST", "/chat", who, {"message": text, "session_id": session})
    return list(json.loads(result["answer_message"]["content"])["before"])


def at(session: str, rest: str = "") -> str:
    return f"/sessions/{quote(session, safe='')}{rest}"


def listed(port: int, who: str, query: str = "") -> list[str]:
    return [each["session_id"] for each in ask(port, "GET", f"/sessions{query}", who)["sessions"]]


def stored(service: Talking, session: str) -> int:
    return len(rows(f"sqlite:///{service.server.folder}/chat.db", "session_id = :s", s=session))


def test_one_session_through_any_door(service: Talking) -> None:
    port = service.server.port
    assert say(port, "one", "ann", SESSION) == []
    named = {"X-Appbuilder-Session-Id": "plain"}
    assert service.say("eins", key="ann", headers=named).before == []
    assert say(port, "zwei", "ann", "plain") == ["eins"]
    assert say(port, "two", "ann", SESSION) == ["one"]
    assert listed(port, "ann") == [SESSION, "plain"]
    assert listed(port, "bob") == []

    told = ask(port, "GET", at(SESSION), "ann")
    assert (told["owner"], told["title"], told["next"]) == ("user:ann", "one", None)
    assert [turn["input"] for turn in told["turns"]] == ["one", "two"]
    assert told["turns"][0]["token_usage"]["total_tokens"] == 7
    assert [turn["input"] for turn in ask(port, "GET", "/sessions/plain", "ann")["turns"]] == ["eins", "zwei"]
    ask(port, "PATCH", at(SESSION), "ann", {"title": "Counting"})
    ask(port, "PUT", at(SESSION, f"/turns/{told['turns'][1]['id']}/rating"), "ann", {"good": True})
    assert listed(port, "ann", "?search=count") == [SESSION]

    # Carried to another user under another id, and gone on with there: the component remembers.
    file = ask(port, "GET", at(SESSION, "/export"), "ann")
    (copy,) = ask(port, "POST", "/sessions/import?ids=new", "bob", file, LINES)["imported"]
    there = ask(port, "GET", at(copy["session_id"]), "bob")
    assert (there["title"], there["owner"]) == ("Counting", "user:bob")
    assert there["turns"][1]["rating"] == {"good": True, "comment": ""}
    assert say(port, "three", "bob", copy["session_id"]) == ["one", "two"]
    assert say(port, "drei", "ann", SESSION) == ["one", "two"]
    assert ask(port, "GET", at(SESSION), "bob", status=404) == "There is no such session."
    say_to_another = {"message": "x", "session_id": SESSION}
    assert ask(port, "POST", "/chat", "bob", say_to_another, status=404) == "There is no such session."

    assert ask(port, "DELETE", at(SESSION), "ann") == {"session_id": SESSION}
    assert listed(port, "ann") == ["plain"]
    assert say(port, "anew", "ann", SESSION) == []
    assert ask(port, "DELETE", "/sessions?user=ann", "ann") == {"sessions": 2}
    assert stored(service, SESSION) == stored(service, "plain") == 0
    assert listed(port, "root", "?user=bob") == [copy["session_id"]]


HELD = json.dumps({"do": "say", "pieces": ["a"], "hold": True})


@contextlib.contextmanager
def held(port: int, who: str, session: str) -> Iterator[Client]:
    """A turn that has begun to answer, and waits."""
    with Client(port) as client:
        body = {"message": HELD, "session_id": session, "stream": True}
        client.post(body, {"Authorization": f"Bearer {who}", "X-Appbuilder-On-Disconnect": "continue"})
        assert client.head().status == 200
        try:
            yield client
        finally:
            for run in runs(port, who):
                if run["session_id"] == session:
                    ask(port, "DELETE", f"/runs/{run['id']}", who)


def runs(port: int, who: str) -> list[Any]:
    return list(ask(port, "GET", "/runs", who)["runs"])


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_run_is_seen_and_stopped(service: Talking, method: str) -> None:
    port, session = service.server.port, f"held {method}"
    with held(port, "ann", session) as client:
        (run,) = runs(port, "ann")
        assert (run["session_id"], run["state"], run["pieces"]) == (session, "running", 1)
        assert ask(port, "GET", f"/runs/{run['id']}", "ann") == run
        assert runs(port, "bob") == []
        assert runs(port, "root") == [run]
        path = f"/runs/{run['id']}" + ("/stop" if method == "POST" else "")
        assert ask(port, method, path, "bob", status=404) == "There is no such run."
        assert ask(port, method, path, "ann") == {"id": run["id"], "state": "stopping"}
        assert list(client.events())[-1]["code"] == 503
    assert eventually(lambda: not runs(port, "ann"))
    (turn,) = ask(port, "GET", at(session), "ann")["turns"]
    assert (turn["state"], turn["answer"]) == ("incomplete", "a")
    ask(port, method, path, "ann", status=404)


def test_a_session_that_is_deleted_or_erased_stays_so(service: Talking) -> None:
    """What its turn under way had to say is not written after it."""
    port = service.server.port
    for session, path, removed in [("gone", "/sessions/gone", False), ("erased", "/sessions?user=eve", True)]:
        say(port, "first", "eve", session)
        with held(port, "eve", session) as client:
            ask(port, "DELETE", path, "eve")
            assert list(client.events())[-1]["code"] == 503
        assert eventually(lambda: not runs(port, "eve"))
        assert ask(port, "GET", at(session), "eve", status=404)
        assert (stored(service, session) == 0) == removed


def test_a_run_of_another_process_is_stopped_from_here(service: Talking, tmp_path: Path) -> None:
    database = f"sqlite:///{service.server.folder}/chat.db"
    with (
        talking(tmp_path, AUTH="hook", HOSTS="test", DATABASE=database) as other,
        held(other.server.port, "ann", "elsewhere") as client,
    ):
        (run,) = eventually(lambda: runs(service.server.port, "ann"))
        (there,) = runs(other.server.port, "ann")
        assert run["id"] == there["id"]
        assert run["worker"] == there["worker"]
        assert (run["pieces"], there["pieces"]) == (None, 1)
        ask(service.server.port, "DELETE", "/sessions/elsewhere", "ann", status=404)  # it has no turn yet
        assert ask(service.server.port, "POST", f"/runs/{run['id']}/stop", "ann")["state"] == "stopping"
        assert list(client.events())[-1]["code"] == 503
        assert eventually(lambda: not runs(service.server.port, "ann"))
