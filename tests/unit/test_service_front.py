"""What the front does for every door."""

from __future__ import annotations

import pytest
from tests.unit.service_desk import Desk

from appbuilder.errors import Forbidden, ServiceUnavailable, Unauthenticated
from appbuilder.serve.asking import Asking, Identity


class Refusing:
    """An authenticator that lets nobody in, or cannot."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def identify(self, asking: Asking) -> Identity | None:
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
