"""P8 at the service: nothing of one caller is visible to another, however many call at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import uuid4

import pytest
from tests.process import rawhttp
from tests.process.service_callers import Guarded, guarded
from tests.process.serving import rows

DOORS = ("chat", "streamed chat", "completions", "responses")


@dataclass(frozen=True)
class Canary:
    """What one user brings that no other may meet."""

    user: str
    key: str
    text: str
    session: str


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("private")
    with guarded(folder, LOGLEVEL="DEBUG", ACCESS_LOG="yes", PAGE="no") as running:
        yield running


@pytest.fixture(scope="module")
def users(service: Guarded) -> list[tuple[str, str]]:
    """64 users and their keys."""
    names = [f"usr-{uuid4().hex[:20]}" for _ in range(64)]
    return [(name, service.keys.add(name, name)[1]) for name in names]


def new(user: tuple[str, str]) -> Canary:
    return Canary(*user, f"txt-{uuid4().hex[:20]}", str(uuid4()))


def ask(service: Guarded, canary: Canary, door: str) -> str:
    """One request through one door; what came back, raw."""
    asks = json.dumps({"do": "tell", "text": canary.text})
    headers = {"Authorization": f"Bearer {canary.key}", "X-Appbuilder-Session-Id": canary.session}
    said = [{"role": "user", "content": asks}]
    path, body = {
        "chat": ("/chat", {"message": asks, "session_id": canary.session}),
        "streamed chat": ("/chat", {"message": asks, "session_id": canary.session, "stream": True}),
        "completions": ("/v1/chat/completions", {"model": "Known", "messages": said}),
        "responses": ("/v1/responses", {"model": "Known", "input": asks}),
    }[door]
    with rawhttp.Client(service.server.port, timeout=60) as client:
        client.post(body, headers, path=path)
        response = client.head()
        answer = response.read().decode()
    assert response.status == 200, answer
    return answer


def check(service: Guarded, canaries: list[Canary], answers: list[str]) -> None:
    stored = rows(f"sqlite:///{service.server.folder}/chat.db")
    for canary, answer in zip(canaries, answers, strict=True):
        assert f"{canary.user} said {canary.text}" in answer
        for other in canaries:
            if other.text != canary.text:
                assert other.text not in answer
            if other.user != canary.user:
                assert other.user not in answer
        mine = json.dumps([row for row in stored if row["session_id"] == canary.session], default=str)
        others = json.dumps([row for row in stored if row["session_id"] != canary.session], default=str)
        assert canary.text in mine
        assert canary.text not in others
    log = service.server.log
    for canary in canaries:
        assert canary.key not in json.dumps(stored, default=str) + "".join(answers) + log
        assert canary.text not in log


@pytest.mark.parametrize("at_once", [1, 2, 8, 64])
def test_callers_at_once(service: Guarded, users: list[tuple[str, str]], at_once: int) -> None:
    canaries = [new(users[number % at_once]) for number in range(max(8, at_once))]
    doors = [DOORS[number % len(DOORS)] for number in range(len(canaries))]
    with ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(lambda each: ask(service, *each), zip(canaries, doors, strict=True)))
    check(service, canaries, answers)


def test_callers_in_turn(service: Guarded, users: list[tuple[str, str]]) -> None:
    """A, B, A, A, B, A: what was remembered of one is not the next one's."""
    for door in DOORS:
        canaries = [new(users["AB".index(letter)]) for letter in "ABAABA"]
        check(service, canaries, [ask(service, canary, door) for canary in canaries])
    for user in users[:2]:
        mine = service.caller(user[1]).sessions("?limit=100")
        theirs = service.caller(users[1 - users.index(user)][1]).sessions("?limit=100")
        assert mine
        assert not mine & theirs
