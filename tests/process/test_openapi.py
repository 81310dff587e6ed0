"""P10: what schemathesis makes of our OpenAPI document breaks neither the server nor the document's word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from tests.process import rawhttp
from tests.process.server import Server
from tests.process.serving import serve


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve("anything", tmp_path_factory.mktemp("openapi")) as running:
        yield running


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", ["POST /chat", "GET /health", "GET /openapi.json"])
def test_any_request(server: Server, operation: str, mode: GenerationMode) -> None:
    """Every check schemathesis has: no 5xx, documented statuses and types, bad data refused, good taken."""
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")
    method, path = operation.split()
    cases = schema[path][method].as_strategy(generation_mode=mode)

    @settings(max_examples=200 if path == "/chat" else 10, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(cases)
    def ask(case: Any) -> None:
        case.call_and_validate()

    try:
        ask()
    except Unsatisfiable:  # an address without parameters has no bad requests
        assert (method, mode) == ("GET", GenerationMode.NEGATIVE)


def test_the_server_is_well_afterwards(server: Server) -> None:
    assert rawhttp.chat(server.port, {"message": "well"}).content == "well"
    assert "Traceback" not in server.log
