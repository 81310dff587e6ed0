"""Traces: from a request to its model call one trace, and every span ends, however its work does."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from tests.unit.engines import ask, async_engine, engine_of, remember, text_from
from tests.unit.tracing import Spans

from appbuilder import tracing
from appbuilder.components.playground import Playground
from appbuilder.core.message import Message
from appbuilder.engine.engine import Engine
from appbuilder.errors import ConfigurationError, ModelUnavailable, TurnCancelled
from appbuilder.serve.http.messages import send_whole
from appbuilder.serve.http.request_metrics import RequestMetricsMiddleware
from appbuilder.serve.server import trace_export
from appbuilder.testing import (
    Fault,
    FaultyModel,
    GatewayDouble,
    OpenAIDouble,
    Reply,
    ScriptedModel,
    model_named,
)

REMOTE_TRACE, REMOTE_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{REMOTE_TRACE}-{REMOTE_SPAN}-01"


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def id_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def parent_of(span: ReadableSpan) -> str:
    assert span.parent is not None
    return f"{span.parent.span_id:016x}"


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def error_of(span: ReadableSpan) -> str | None:
    """The kind of error a span failed with; its text is nowhere."""
    assert not span.events
    assert span.status.description is None
    failed = span.status.status_code is StatusCode.ERROR
    kind = attributes(span).get("error.type")
    assert failed == (kind is not None)
    return kind


def answers_with(play: Playground, name: str) -> Engine:
    """An engine whose component asks *play* in the way *name* says, and appends what was said."""

    def sync(message: Message[Any], stream: bool) -> Message[Any]:
        return remember(message, play.run(message, stream=stream))

    async def asynchronous(message: Message[Any], stream: bool) -> Message[Any]:
        return await asyncio.to_thread(sync, message, stream)

    return engine_of(sync)[0] if name == "sync" else async_engine(asynchronous)[0]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_turn_is_one_trace_from_the_request_to_the_model_server(
    kind: str, stream: bool, spans: Spans, openai_server: OpenAIDouble
) -> None:
    engine = answers_with(Playground("{query}", model="openai/gpt-x"), kind)
    tracer = trace.get_tracer_provider().get_tracer("test")
    with tracer.start_as_current_span("request"):
        run = engine.start(ask(stream=stream, door="openai"))
    text_from(run)
    request, chat, commit = spans["request"], spans["chat gpt-x"], spans["commit"]
    [turn] = [span for span in spans.all if span.name.startswith("invoke_agent")]
    assert len({trace_of(span) for span in spans.all}) == 1
    assert (parent_of(turn), parent_of(chat), parent_of(commit)) == (id_of(request), id_of(turn), id_of(turn))
    assert (turn.kind, chat.kind) == (SpanKind.INTERNAL, SpanKind.CLIENT)
    assert not any(error_of(span) for span in spans.all)
    [sent] = openai_server.requests
    assert sent.headers["traceparent"].startswith(f"00-{trace_of(chat)}-{id_of(chat)}-")


def test_the_attributes_are_those_of_the_conventions(
    spans: Spans, openai_server: OpenAIDouble
) -> None:
    play = Playground("{query}", model="openai/gpt-x")
    engine, _, _ = engine_of(lambda message, stream: play.run(message, stream=stream, temperature=0.5))
    run = engine.start(ask(stream=True, session_id="s-1"))
    text_from(run)
    turn, chat = attributes(spans["invoke_agent Scripted"]), attributes(spans["chat gpt-x"])
    pieces = turn.pop("appbuilder.pieces")
    assert pieces == run.log.count > 0
    usage = {name: turn[name] for name in turn if name.startswith("gen_ai.usage")}
    assert usage == {name: chat[name] for name in chat if name.startswith("gen_ai.usage")}
    assert set(usage) == {"gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"}
    assert {name: turn[name] for name in turn if name not in usage} == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "appbuilder",
        "gen_ai.agent.name": "Scripted",
        "gen_ai.conversation.id": "s-1",
        "appbuilder.request.id": run.request.request_id,
        "appbuilder.run.id": run.request.run_id,
        "appbuilder.door": "chat",
    }
    assert chat.pop("gen_ai.response.time_to_first_chunk") > 0
    assert chat.pop("gen_ai.response.id")
    assert {name: chat[name] for name in chat if name not in usage} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.0,
        "gen_ai.request.max_tokens": 1024,
        "gen_ai.request.stream": True,
        "gen_ai.conversation.id": "s-1",
        "gen_ai.response.model": "gpt-x",
        "gen_ai.response.finish_reasons": ("stop",),
        "server.address": "127.0.0.1",
        "server.port": openai_server.port,
    }


def test_the_gateway_is_not_told_which_span_calls_it(spans: Spans, gateway: GatewayDouble) -> None:
    engine, _, _ = engine_of(lambda message, stream: Playground("{query}", model="eb-4").run(message))
    engine.execute(ask()).log.wait_outcome()
    assert attributes(spans["chat eb-4"])["gen_ai.provider.name"] == "baidu.appbuilder"
    assert gateway.requests
    assert not any("traceparent" in request.headers for request in gateway.requests)


# However it ends


def test_a_component_that_fails_ends_its_turn_with_an_error_and_without_its_text(spans: Spans) -> None:
    def script(message: Message[Any], stream: bool) -> Message[Any]:
        raise ValueError("the user's words")

    engine, _, _ = engine_of(script)
    engine.execute(ask())
    assert error_of(spans["invoke_agent Scripted"]) == "ComponentError"
    assert "words" not in "".join(span.to_json() for span in spans.all)


@pytest.mark.parametrize("after", [None, 1])
def test_a_model_that_fails(after: int | None, spans: Spans) -> None:
    model = FaultyModel(ScriptedModel(["a", "b"]), Fault(ModelUnavailable("gone"), after))
    play = Playground("{query}", model="m")
    engine, _, _ = engine_of(lambda message, stream: play.run(message), attempts=1)
    with model_named("m", model):
        engine.execute(ask())
    assert error_of(spans["chat m"]) == "ModelUnavailable"
    assert error_of(spans["invoke_agent Scripted"]) == "ModelUnavailable"


def test_a_commit_that_fails(spans: Spans) -> None:
    engine, store, _ = engine_of(lambda message, stream: remember(message, Message("a")))
    store.fail = True
    engine.execute(ask())
    assert error_of(spans["commit"]) == "StoreUnavailable"
    assert error_of(spans["invoke_agent Scripted"]) == "StoreUnavailable"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_turn_that_is_stopped_ends_all_its_spans(
    kind: str, spans: Spans, openai_server: OpenAIDouble
) -> None:
    openai_server.reply(Reply(hang=True))
    engine = answers_with(Playground("{query}", model="openai/gpt-x"), kind)
    run = engine.start(ask(stream=True))
    openai_server.wait_for_requests(1)
    run.cancel(TurnCancelled("stopped"))
    run.log.wait_outcome()
    openai_server.wait_for_left()
    [turn] = [span for span in spans.all if span.name.startswith("invoke_agent")]
    assert error_of(turn) == "TurnCancelled"
    assert error_of(spans["chat gpt-x"]) == "TurnCancelled"


def test_an_attempt_that_is_made_again_is_the_same_turn(spans: Spans) -> None:
    calls: list[int] = []

    def script(message: Message[Any], stream: bool) -> Message[Any]:
        def pieces() -> Iterator[str]:
            calls.append(1)
            yield from Playground("{query}", model="m").run(message).content
            if len(calls) == 1:
                raise OSError("again")

        return Message(_whole(pieces))

    def _whole(pieces: Callable[[], Iterator[str]]) -> Iterator[str]:
        yield "".join(pieces())

    engine, _, _ = engine_of(script)
    with model_named("m", ScriptedModel(["a"])):
        text_from(engine.start(ask(stream=True)))
    turn = spans["invoke_agent Scripted"]
    assert [parent_of(span) for span in spans.all if span.name == "chat m"] == [id_of(turn)] * 2
    assert error_of(turn) is None


# Texts


@pytest.mark.parametrize("wanted", ["", "false", "event_only", "true", "SPAN_ONLY", "span_and_event"])
def test_texts_are_on_spans_only_where_they_are_asked_for(
    wanted: str, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(tracing.CAPTURE, wanted)
    play = Playground("to the model: {query}", model="m")
    engine, _, _ = engine_of(lambda message, stream: play.run(message))
    with model_named("m", ScriptedModel(["said"])):
        engine.execute(ask(message="asked"))
    turn, chat = attributes(spans["invoke_agent Scripted"]), attributes(spans["chat m"])
    if wanted in ("", "false", "event_only"):
        everything = "".join(span.to_json() for span in spans.all)
        assert "asked" not in everything
        assert "said" not in everything
        return

    def said(role: str, text: str) -> list[dict[str, Any]]:
        return [{"role": role, "parts": [{"type": "text", "content": text}]}]

    assert json.loads(turn["gen_ai.input.messages"]) == said("user", "asked")
    assert json.loads(turn["gen_ai.output.messages"]) == said("assistant", "said")
    assert json.loads(chat["gen_ai.input.messages"]) == said("user", "to the model: asked")
    assert json.loads(chat["gen_ai.output.messages"]) == said("assistant", "said")


# Requests


def observed(app: Any, path: str = "/chat", headers: list[tuple[bytes, bytes]] | None = None) -> None:
    """One request through the service's outermost part, with *app* behind it."""
    scope = {
        "type": "http", "method": "POST", "path": path, "headers": headers or [], "scheme": "http",
        "http_version": "1.1", "server": ("127.0.0.1", 8090), "query_string": b"secret=1",
    }

    async def receive() -> Any:
        raise AssertionError("these read no body")

    async def send(message: Any) -> None:
        await asyncio.sleep(0)

    asyncio.run(RequestMetricsMiddleware(app, page=True)(scope, receive, send))


def test_a_request_takes_up_its_caller_s_trace_and_turns_belong_to_it(spans: Spans) -> None:
    engine, _, _ = engine_of(lambda message, stream: "a")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        run = engine.start(ask())
        await asyncio.to_thread(run.log.wait_outcome)
        await send_whole(send, b"{}")

    observed(app, headers=[(b"traceparent", TRACEPARENT.encode())])
    request, turn = spans["POST /chat"], spans["invoke_agent Scripted"]
    assert (trace_of(request), parent_of(request)) == (REMOTE_TRACE, REMOTE_SPAN)
    assert (trace_of(turn), parent_of(turn)) == (REMOTE_TRACE, id_of(request))
    assert request.kind is SpanKind.SERVER
    assert attributes(request) == {
        "http.request.method": "POST", "url.path": "/chat", "url.scheme": "http", "http.route": "/chat",
        "network.protocol.version": "1.1", "server.address": "127.0.0.1", "server.port": 8090,
        "http.response.status_code": 200,
    }


def test_a_request_that_raises_and_one_whose_client_left_end_their_spans(spans: Spans) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("the user's words")

    async def left(scope: Any, receive: Any, send: Any) -> None:
        return

    with pytest.raises(RuntimeError):
        observed(failing)
    observed(left, path="/elsewhere")
    assert error_of(spans["POST /chat"]) == "500"
    assert error_of(spans["POST page"]) is None
    assert attributes(spans["POST page"])["http.response.status_code"] == 499


def test_probes_are_not_traced(spans: Spans) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send_whole(send, b"{}")

    observed(app, path="/health")
    assert spans.all == []


# Setting up


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    "environ", [{}, ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}]
)
def test_without_an_endpoint_nothing_is_set_up(environ: dict[str, str]) -> None:
    trace_export.set_up("x", environ)()
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def test_a_provider_that_is_there_is_left_alone(spans: Spans) -> None:
    before = trace.get_tracer_provider()
    trace_export.set_up("x", ENDPOINT)()
    assert trace.get_tracer_provider() is before
    engine, _, _ = engine_of(lambda message, stream: "a")
    engine.execute(ask())
    assert spans.names == ["invoke_agent Scripted"]


def test_another_protocol_and_a_missing_extra_are_said() -> None:
    with pytest.raises(ConfigurationError, match="grpc"):
        trace_export.set_up("x", ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    program = (
        "import sys\n"
        "sys.modules['opentelemetry.exporter'] = None\n"
        "from appbuilder.serve.server import trace_export as traces\n"
        f"traces.set_up('x', {ENDPOINT!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ConfigurationError" in done.stderr
    assert "appbuilder-runtime[otel]" in done.stderr


def test_an_import_of_the_api_that_another_thread_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", ModuleType("opentelemetry.trace"))
    assert tracing.tracer() is None
    assert tracing.ids() == {}


def test_a_turn_where_the_api_is_there_and_nobody_set_a_provider() -> None:
    assert "opentelemetry.trace" in sys.modules
    assert tracing.tracer() is None
    assert tracing.carried() == {}
    assert tracing.ids() == {}
    engine, _, _ = engine_of(lambda message, stream: "a")
    assert engine.execute(ask()).log.wait_outcome().answer is not None
