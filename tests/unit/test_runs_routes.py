"""/runs: who sees and stops which."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.service_client import OWNERS, SEE_ALL, Desk


@pytest.fixture
def desk() -> Desk:
    return Desk()


def ids(desk: Desk, who: str, **query: Any) -> list[str]:
    return [each["id"] for each in desk.get("/runs", who, **query)["runs"]]


def test_what_is_told_of_a_run(desk: Desk) -> None:
    run = desk.register.begin("r1", "user:ann")
    told = {"id": "r1", "session_id": "s", "request_id": run.request_id, "owner": "user:ann",
            "started_at": "2026-01-02T00:00:00.000000Z", "state": "running", "worker": "host:1", "pieces": 3}
    assert desk.get("/runs") == {"runs": [told]}
    assert desk.get("/runs/r1") == told
    assert desk.client.head("/runs/r1", headers={"Authorization": "Bearer ann"}).status_code == 200


def test_lists(desk: Desk) -> None:
    for run_id, owner in [("a", "user:ann"), ("b", "user:bob"), ("v", "visitor:v"), ("n", None)]:
        desk.register.begin(run_id, owner)
    assert ids(desk, "ann") == ids(desk, "ann", user="ann") == ["a"]
    assert ids(desk, "v") == ["v"]
    assert ids(desk, "root") == ids(desk, "root", all="true") == ["a", "b", "v", "n"]
    assert ids(desk, "root", user="bob") == ["b"]
    assert ids(desk, "root", owner="nobody") == ["n"]


@pytest.mark.parametrize(("method", "path"), [("POST", "/runs/r/stop"), ("DELETE", "/runs/r")])
def test_stopping(desk: Desk, method: str, path: str) -> None:
    desk.register.begin("r", "user:ann")
    assert desk.ask(method, path) == {"id": "r", "state": "stopping"}
    assert desk.register.stopped == ["r"]
    assert desk.ask(method, path, status=404) == "There is no such run."


def test_a_run_that_ends_when_it_is_to_be_stopped(desk: Desk) -> None:
    desk.register.begin("r", "user:ann")
    desk.register.on_stop = lambda _: desk.register.live.clear()
    desk.ask("POST", "/runs/r/stop", status=404)


@pytest.mark.parametrize("owner", [*OWNERS, None], ids=str)
@pytest.mark.parametrize("who", [*OWNERS, "stranger"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/runs/{}"), ("POST", "/runs/{}/stop"), ("DELETE", "/runs/{}")]
)
def test_owner_and_caller(method: str, path: str, owner: str | None, who: str) -> None:
    desk = Desk()
    desk.register.begin("r", None if owner is None else OWNERS[owner])
    if who == owner or who in SEE_ALL:
        desk.ask(method, path.format("r"), who)
        return
    status = 401 if who == "stranger" else 404
    told = desk.ask(method, path.format("r"), who, status)
    assert told == desk.ask(method, path.format("another"), who, status)
    assert desk.register.stopped == []
