"""A service looked into from outside: its metrics under load, its traces where they arrive, its log."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families
from tests.process.server import JSON_HEADERS, Server, start
from tests.process.serving import APPS, eventually, free_port, settings

from appbuilder.testing import OpenAIDouble

CANARY = "CANARY-77aa"
API_KEY = "sk-CANARY-key-2b"
PASSWORD = "CANARY-password"
SERVE = "from appbuilder.cli.main import main; main()"
STOPPED = -signal.SIGTERM
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def observed(folder: Path, *options: str, **given: str) -> Server:
    """``appbuilder serve`` of the observed component."""
    port = free_port()
    env = settings(folder, **given)
    env |= {"APPBUILDER_DATABASE": env.pop("DATABASE"), "APPBUILDER_PAGE": "false", **OTHERS}
    command = [sys.executable, "-c", SERVE, "serve", f"{APPS}.observed:agent", "--port", str(port), *options]
    return start(folder, command, port=port, env=env)


OTHERS: dict[str, str] = {}
"""Variables of OpenTelemetry's, see :func:`collector`."""


def metrics(server: Server) -> dict[str, float]:
    """All samples by name, with their labels as ``name{door=chat,outcome=done}``."""
    reply = server.request("GET", "/metrics")
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"].startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(reply.body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def log_of(server: Server) -> list[dict[str, Any]]:
    """The lines of a JSON log; every line must be one."""
    return [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]


# Metrics


@pytest.mark.parametrize("workers", ["1", "2"])
def test_metrics_add_up_under_load_whichever_worker_answers(tmp_path: Path, workers: str) -> None:
    turns = 60
    with observed(tmp_path, "--workers", workers) as server, ThreadPoolExecutor(8) as clients:

        def turn(number: int) -> None:
            if number % 3 == 0:
                assert server.chat("boom").status == 500
            elif number % 3 == 1:
                assert server.chat("whole").status == 200
            else:
                with server.stream("streamed") as events:
                    assert "".join(events.texts).startswith("0 1 2 3 4 ")
            if number % 10 == 0:
                metrics(server)

        list(clients.map(turn, range(turns)))
        done, failed = "{door=chat,outcome=done}", "{door=chat,outcome=failed}"
        found = metrics(server)
        assert found[f"appbuilder_turns_total{done}"] == turns / 3 * 2
        assert found[f"appbuilder_turns_total{failed}"] == turns / 3
        assert found["appbuilder_errors_total{kind=ComponentError}"] == turns / 3
        assert found["appbuilder_commit_turns_sum"] == turns
        assert found["appbuilder_pieces_total"] == turns / 3 * 2 * 5
        eventually(lambda: metrics(server)["appbuilder_streams_open"] == 0)
        answered = "{method=POST,route=/chat,status=200}"
        eventually(lambda: metrics(server)[f"appbuilder_http_requests_total{answered}"] == turns / 3 * 2)
        assert found["appbuilder_turns_in_flight"] == 0
        assert "whole" not in str(found)
        assert ("process_open_fds" in found) == (workers == "1")
        with server.stream("wait") as events:
            next(events)
            busy = metrics(server)
            assert (busy["appbuilder_turns_in_flight"], busy["appbuilder_streams_open"]) == (1, 1)
        eventually(lambda: metrics(server)["appbuilder_turns_in_flight"] == 0)
        left = metrics(server)
        assert left["appbuilder_disconnects_total"] == 1
        assert left["appbuilder_turns_total{door=chat,outcome=incomplete}"] == 1


def test_what_was_open_in_a_worker_that_died_is_not_counted_any_more(tmp_path: Path) -> None:
    with observed(tmp_path, "--workers", "2", LOG_FORMAT="json") as server:
        with server.stream("wait") as events:
            next(events)
            assert metrics(server)["appbuilder_turns_in_flight"] == 1
            [pid] = {line["pid"] for line in log_of(server) if line["message"] == "at work"}
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: metrics(server)["appbuilder_turns_in_flight"] == 0)
        assert server.chat("whole").status == 200
        assert server.terminate() == STOPPED


# Traces


class Collector(ThreadingHTTPServer):
    """Takes traces as OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []


class _Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            told = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.server.resources.append(told)
            for scope in resource.scope_spans:
                self.server.spans.extend(scope.spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as collecting:
        thread = threading.Thread(target=collecting.serve_forever)
        thread.start()
        monkeypatch.setitem(
            OTHERS, "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collecting.server_port}"
        )
        yield collecting
        collecting.shutdown()
        thread.join()


def test_a_trace_arrives_from_the_request_to_the_model_call(tmp_path: Path, collector: Collector) -> None:
    with OpenAIDouble() as model:
        given = {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": API_KEY}
        with observed(tmp_path, LOG_FORMAT="json", ACCESS_LOG="true", **given) as server:
            headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
            with server.stream(f"model {CANARY}", headers=headers) as events:
                list(events)
            assert server.terminate() == STOPPED  # what was not sent yet is sent now
            lines = log_of(server)
    spans = {span.name: span for span in collector.spans}
    assert set(spans) == {"POST /chat", "invoke_agent Observed", "chat gpt-x", "commit"}
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    request, turn = spans["POST /chat"], spans["invoke_agent Observed"]
    assert request.parent_span_id.hex() == "00f067aa0ba902b7"
    assert turn.parent_span_id == request.span_id
    assert spans["chat gpt-x"].parent_span_id == spans["commit"].parent_span_id == turn.span_id
    [called] = model.requests
    assert called.headers["traceparent"].split("-")[1:3] == [TRACE, spans["chat gpt-x"].span_id.hex()]
    assert {resource["service.name"] for resource in collector.resources} == {"Observed"}
    assert CANARY not in str(collector.spans)
    [access] = [line for line in lines if line["logger"] == "appbuilder.access"]
    assert (access["trace_id"], access["span_id"]) == (TRACE, request.span_id.hex())
    [at_work] = [line for line in lines if line["message"] == "at work"]
    assert (at_work["trace_id"], at_work["span_id"]) == (TRACE, turn.span_id.hex())
    assert at_work["request_id"] == access["request_id"]


def test_a_collector_that_is_gone_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OTHERS, "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with observed(tmp_path) as server:
        assert server.chat("whole").status == 200
        assert server.terminate(timeout=20) == STOPPED


# The log


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_text_and_no_secret_reaches_the_log(tmp_path: Path, form: str) -> None:
    with OpenAIDouble(keys=["another"]) as model:
        given = {
            "OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": API_KEY, "TOKEN": f"bce-v3/{CANARY}",
            "LOG_FORMAT": form, "LOGLEVEL": "DEBUG", "ACCESS_LOG": "true",
        }
        secrets = {"Authorization": f"Bearer {API_KEY}", "X-Appbuilder-Token": f"bce-v3/{CANARY}"}
        with observed(tmp_path, **given) as server:
            for message in (CANARY, f"boom {CANARY}", f"model {CANARY}"):
                server.chat(message, headers=secrets, path=f"/chat?q={CANARY}")
                with server.stream(message, headers=secrets) as events:
                    list(events)
            server.chat(CANARY, session_id=f"s-{CANARY}", headers=secrets, unknown=CANARY)
            server.request("POST", "/chat", CANARY.encode(), {**JSON_HEADERS, **secrets})
            server.request("GET", f"/{CANARY}?{CANARY}", headers=secrets)
            server.request("GET", f"/sessions/{CANARY}", headers=secrets)
            assert server.terminate() == STOPPED
            written = server.log
    # A session's id, which a caller may choose, is there to be found again.
    written = written.replace(f"s-{CANARY}", "")
    assert CANARY not in written
    assert API_KEY not in written
    assert "ValueError" in written, "what went wrong is told all the same"
    if form == "json":
        lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
        accesses = [line for line in lines if line["logger"] == "appbuilder.access"]
        assert {(line["route"], line["status"]) for line in accesses} >= {("/chat", 200), ("none", 404)}
        assert all(line["request_id"] for line in accesses)
        assert "\nTraceback" not in written


def test_the_database_s_password_is_not_in_the_log(tmp_path: Path, postgres: Any) -> None:
    url = re.sub(r"//[^@]*@", f"//somebody:{PASSWORD}@", str(postgres.url))
    port = free_port()
    command = [sys.executable, "-c", SERVE, "serve", f"{APPS}.observed:agent", "--port", str(port)]
    env = settings(tmp_path, LOGLEVEL="DEBUG", LOG_FORMAT="json") | {"APPBUILDER_DATABASE": url}
    with pytest.raises(AssertionError) as failed:
        start(tmp_path, command, port=port, env=env)
    assert "the server ended" in str(failed.value)
    assert PASSWORD not in str(failed.value)


@pytest.mark.parametrize("form", ["text", "json"])
def test_texts_are_written_down_where_they_are_asked_for(tmp_path: Path, form: str) -> None:
    with observed(tmp_path, "--log-texts", LOG_FORMAT=form) as server:
        assert server.chat("well").status == 200
        assert server.chat(f"boom {CANARY}").status == 500
        assert server.terminate() == STOPPED
        written = server.log
    assert f"cannot answer boom {CANARY}" in written
    if form == "text":
        assert "message: well" in written
    else:
        texts = [json.loads(line)["texts"] for line in written.splitlines() if '"texts"' in line]
        assert {"message": "well", "answer": "0 1 2 3 4 "} in texts
