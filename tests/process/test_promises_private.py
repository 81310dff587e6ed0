"""P8: nothing of one request is visible to another; no text, credential or password is in the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from tests.process import rawhttp
from tests.process.server import Server
from tests.process.serving import DOORS, rows, serve
from tests.services.servers import PASSWORD, PostgresServer

from appbuilder.testing import GatewayDouble, Reply


@dataclass(frozen=True)
class Canary:
    """What one request brings that no other may meet."""

    token: str
    text: str
    flavour: str
    session: str
    user: str

    @classmethod
    def new(cls, session: str | None = None) -> Canary:
        token, text, flavour, user = (f"{kind}-{uuid4().hex[:20]}" for kind in ("tok", "txt", "fla", "usr"))
        return cls(f"bce-v3/ALTAK-{token}", text, flavour, session or str(uuid4()), user)


@pytest.fixture(scope="module")
def gateway() -> Iterator[GatewayDouble]:
    with GatewayDouble() as double:
        yield double


@pytest.fixture(scope="module", params=DOORS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, gateway: GatewayDouble,
    postgres: PostgresServer,
) -> Iterator[Server]:
    database = postgres.new_database().render_as_string(hide_password=False)
    with serve("model", tmp_path_factory.mktemp("private"), request.param, DATABASE=database,
               GATEWAY_URL=gateway.address, LOGLEVEL="DEBUG") as running:
        running.database = database  # type: ignore[attr-defined]
        yield running


def ask(server: Server, canary: Canary, stream: bool) -> str:
    """One request; what came back, raw."""
    body = {"message": canary.text, "flavour": canary.flavour, "session_id": canary.session, "stream": stream}
    headers = {"X-Appbuilder-Token": canary.token, "X-Appbuilder-User-Id": canary.user}
    with rawhttp.Client(server.port, timeout=60) as client:
        client.post(body, headers)
        response = client.head()
        answer = response.read().decode()
        assert response.status == 200, answer
    text = "".join(json.loads(line[6:])["result"]["answer_message"]["content"]
                   for line in answer.splitlines() if line.startswith("data: ")) if stream else answer
    assert canary.text + canary.flavour in text
    return answer + text


def check(server: Server, gateway: GatewayDouble, canaries: list[Canary], answers: list[str]) -> None:
    for canary, answer in zip(canaries, answers, strict=True):
        for other in canaries:
            if other is not canary:
                assert other.text not in answer
                assert other.flavour not in answer
                assert other.token not in answer
        assert canary.token not in answer
    by_text = {canary.text + canary.flavour: canary for canary in canaries}
    calls = [call for call in gateway.calls if call.body["query"] in by_text]
    assert len(calls) == len(canaries)
    for call in calls:
        assert call.headers["x-appbuilder-authorization"] == f"Bearer {by_text[call.body['query']].token}"
    stored = rows(server.database)  # type: ignore[attr-defined]
    for canary in canaries:
        mine = json.dumps([dict(row) for row in stored if row["session_id"] == canary.session], default=str)
        others = json.dumps([dict(row) for row in stored if row["session_id"] != canary.session], default=str)
        for secret in (canary.text, canary.flavour):
            assert secret in mine
            assert secret not in others
        assert canary.token not in mine + others
    log = server.log
    for canary in canaries:
        for secret in (canary.token, canary.text, canary.flavour):
            assert secret not in log
    assert PASSWORD not in log


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("clients", [1, 2, 8, 64])
def test_a_canary_per_request(server: Server, gateway: GatewayDouble, clients: int, stream: bool) -> None:
    canaries = [Canary.new() for _ in range(max(clients, 4))]
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(lambda canary: ask(server, canary, stream), canaries))
    check(server, gateway, canaries, answers)


@pytest.mark.parametrize("stream", [False, True])
def test_two_users_in_turn(server: Server, gateway: GatewayDouble, stream: bool) -> None:
    """A,B,A,A,B,A on one connection: what is kept on a thread or a component would be met here."""
    sessions = {name: str(uuid4()) for name in "AB"}
    canaries = [Canary.new(sessions[name]) for name in "ABAABA"]
    answers = [ask(server, canary, stream) for canary in canaries]
    check(server, gateway, canaries, answers)


def test_a_parameter_stays_with_its_request(server: Server, gateway: GatewayDouble) -> None:
    first = Canary.new()
    ask(server, first, stream=False)
    headers = {"X-Appbuilder-Token": "another"}
    answer = rawhttp.chat(server.port, {"message": "plain"}, headers)
    assert answer.content == "plain"
    assert rawhttp.chat(server.port, {"message": "plain"}).status == 401
    assert gateway.calls[-1].body["query"] == "plain"


def test_failures_are_not_told_either(server: Server, gateway: GatewayDouble) -> None:
    """A model server that repeats what it got in its error: the client is not told, the log has no token."""
    canary = Canary.new()
    gateway.reply(Reply(status=400, error=("Bad", f"bad token {canary.token} for {canary.text}")))
    answer = rawhttp.chat(server.port, {"message": canary.text}, {"X-Appbuilder-Token": canary.token})
    assert answer.status == 502
    for secret in (canary.token, canary.text):
        assert secret.encode() not in answer.body
    assert canary.token not in server.log


def test_bad_requests_leave_nothing_in_the_log(server: Server) -> None:
    canary = Canary.new()
    headers = {"X-Appbuilder-Token": canary.token}
    bodies: list[dict[str, Any]] = [
        {canary.flavour: 1}, {"stream": canary.flavour}, {"session_id": canary.flavour * 3}
    ]
    for body in [*({"message": canary.text, **more} for more in bodies), canary.text.encode()]:
        assert rawhttp.chat(server.port, body, headers).status == 400
    for secret in (canary.token, canary.text, canary.flavour):
        assert secret not in server.log
