"""What the front does for every door."""

from __future__ import annotations

import pytest
from tests.unit.service_client import Desk

from appbuilder.errors import Forbidden, ServiceUnavailable, TurnCancelled, TurnTimeout, Unauthenticated
from appbuilder.serve.auth.request_info import Identity, RequestInfo


class Refusing:
    """An authenticator that lets nobody in, or cannot."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def identify(self, asking: RequestInfo) -> Identity | None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Forbidden("For its own machine."), 403), (Unauthenticated("Not known here."), 401),
        (ServiceUnavailable("The issuer does not answer."), 503), (ValueError("a hook's"), 500),
    ],
)
def test_a_probe_is_answered_whoever_asks(error: Exception, status: int) -> None:
    desk = Desk(authenticator=Refusing(error))
    for path in ("/health", "/ready"):
        for method in ("GET", "HEAD"):
            assert desk.client.request(method, path).status_code == 200, path
    assert desk.client.get("/sessions").status_code == status


@pytest.mark.parametrize(
    ("path", "who", "status"),
    [
        ("/sessions", "ann", 200), ("/sessions/s", "ann", 200), ("/sessions/s/export", "ann", 200),
        ("/sessions/s", "bob", 404), ("/sessions", "", 401), ("/sessions?all=true", "bob", 403),
        ("/runs", "ann", 200), ("/runs/r", "ann", 200), ("/v1/models", "ann", 200), ("/v1/models", "", 401),
        ("/admin", "root", 200), ("/admin", "bob", 404), ("/metrics", "root", 200), ("/nothing", "ann", 404),
    ],
)
def test_no_cache_has_for_the_next_caller_what_one_was_told(path: str, who: str, status: int) -> None:
    desk = Desk()
    desk.say("s", "first")
    desk.register.begin("r", "user:ann")
    # A cookie and this header do not tell caches that the answer is one caller's; Authorization would.
    for method in ("GET", "HEAD"):
        answer = desk.client.request(method, path, headers={"X-Api-Key": who})
        assert answer.status_code == status, answer.text
        assert answer.headers.get_list("cache-control") == ["no-store"]


def test_what_is_everybody_s_may_be_kept() -> None:
    for path in ("/openapi.json", "/docs"):
        assert "cache-control" not in Desk().client.get(path).headers


@pytest.mark.parametrize(
    ("error", "status"),
    [(TurnCancelled("It was stopped."), 503), (TurnTimeout("It took too long."), 504), (ValueError(), 500)],
)
def test_what_was_stopped_is_not_to_be_tried_again(error: Exception, status: int) -> None:
    answer = Desk(authenticator=Refusing(error)).client.get("/sessions")
    assert answer.status_code == status
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers


def test_what_is_full_is_to_be_tried_again() -> None:
    answer = Desk(authenticator=Refusing(ServiceUnavailable("Full.", retry_after=3))).client.get("/sessions")
    assert answer.headers["retry-after"] == "3"
    assert "x-should-retry" not in answer.headers
