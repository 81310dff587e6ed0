"""GET /metrics: who may read it, and in which form."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.routing import Router

from appbuilder import telemetry
from appbuilder.errors import Forbidden, Unauthenticated
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.http.messages import IDENTITY
from appbuilder.serve.routes import metrics
from appbuilder.serve.server.metrics_dir import FOLDER, shared_metrics
from appbuilder.settings import Settings

USER = Identity("ada", "user:ada")
ADMINISTRATOR = Identity("root", "user:root", sees_all_others=True)
LOOPBACK, OTHER = "127.0.0.1", "192.0.2.7"


@pytest.fixture(autouse=True)
def nobody_afterwards() -> Iterator[None]:
    yield
    telemetry.report_to(telemetry.NOBODY)


def scraped(
    peer: str,
    identity: Identity | None,
    headers: Sequence[tuple[bytes, bytes]] = ((b"host", b"localhost:8090"),),
    **settings: Any,
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of one scrape; errors are raised, as they are for the front."""
    service: Any = SimpleNamespace(settings=Settings(**settings))
    sent: list[Any] = []
    scope = {
        "type": "http", "method": "GET", "path": "/metrics", "root_path": "", "query_string": b"",
        "headers": list(headers), "client": (peer, 1), "app": None, IDENTITY: identity,
    }

    async def receive() -> Any:
        raise AssertionError("there is no body")

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Router(metrics.routes(service))(scope, receive, send))
    start, body = sent
    return start["status"], dict(start["headers"]), body["body"]


@pytest.mark.parametrize("peer", [LOOPBACK, OTHER])
def test_without_authentication_whoever_is_let_in_reads_them(peer: str) -> None:
    status, headers, body = scraped(peer, None)
    assert status == 200
    assert headers[b"content-type"].startswith(b"text/plain")
    assert b"appbuilder_turns_in_flight" in body


def test_with_authentication_administrators_and_this_machine_do() -> None:
    assert scraped(OTHER, ADMINISTRATOR, auth="keys")[0] == 200
    assert scraped(LOOPBACK, None, auth="keys")[0] == 200
    with pytest.raises(Forbidden):
        scraped(OTHER, USER, auth="keys")
    with pytest.raises(Unauthenticated):
        scraped(OTHER, None, auth="keys")


@pytest.mark.parametrize(
    "headers",
    [[(b"host", b"agent.example.com")], [(b"host", b"localhost"), (b"x-forwarded-for", b"1.2.3.4")]],
)
def test_a_proxy_on_this_machine_does_not_open_them(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthenticated):
        scraped(LOOPBACK, None, headers, auth="keys")


def test_they_can_be_had_in_the_form_of_openmetrics() -> None:
    accept = (b"accept", b"application/openmetrics-text;version=1.0.0")
    _, headers, body = scraped(LOOPBACK, None, [accept])
    assert headers[b"content-type"].startswith(b"application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_where_they_are_not_wanted_there_is_no_route_and_nobody_counts() -> None:
    service: Any = SimpleNamespace(settings=Settings(metrics=False))
    assert metrics.routes(service) == []
    assert telemetry.current is telemetry.NOBODY


def test_the_folder_of_several_workers_is_there_as_long_as_they_are(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    with shared_metrics(environ) as ended:
        folder = Path(environ[FOLDER])
        (folder / "gauge_livesum_7.db").touch()
        (folder / "counter_7.db").touch()
        ended(7)
        assert [path.name for path in folder.iterdir()] == ["counter_7.db"]
    assert not folder.exists()
    assert environ == {}


def test_a_folder_the_operator_gave_is_emptied_and_kept(tmp_path: Path) -> None:
    (tmp_path / "counter_1.db").touch()
    (tmp_path / "theirs.txt").touch()
    environ = {FOLDER: str(tmp_path)}
    with shared_metrics(environ):
        assert [path.name for path in tmp_path.iterdir()] == ["theirs.txt"]
    assert tmp_path.exists()
    assert environ == {FOLDER: str(tmp_path)}
