"""The public doubles: the original SDK can use the gateway's, and nothing in them needs a test framework."""

from __future__ import annotations

import asyncio
import contextvars
import json
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest

from appbuilder import Message, Playground
from appbuilder.core.context import init_context
from appbuilder.errors import ModelUnavailable, TurnCancelled
from appbuilder.testing import (
    BEFORE,
    AsyncScriptedComponent,
    Fault,
    FaultyModel,
    GatewayDouble,
    OpenAIDouble,
    Reply,
    ScriptedComponent,
    ScriptedModel,
    model_named,
)

SDK_PROGRAM = """
import json, os, sys
os.environ["GATEWAY_URL"], os.environ["APPBUILDER_TOKEN"] = sys.argv[1], "sdk-token"
import appbuilder
from appbuilder import Message
playground = appbuilder.Playground(prompt_template="{query}", model="eb-4")
whole = playground(Message("海淀区的面积是多少"))
streamed = playground(Message("海淀区的面积是多少"), stream=True)
pieces = list(streamed.content)
rewrite = appbuilder.QueryRewrite(model="Qianfan-Agent-Speed-8K")
asked = rewrite(Message(["海淀区的面积是多少", "431平方千米", "朝阳区呢"]), rewrite_type="带机器人回复")
try:
    playground(Message("fail"))
    error = ""
except Exception as raised:
    error = str(raised)
print(json.dumps([whole.content, whole.token_usage, whole.extra,
                  pieces, streamed.token_usage, asked.content, error]))
"""


def test_the_original_sdk_uses_the_gateways_double(sdk_python: Path) -> None:
    log = [{"tool": "search_db", "result": [{"content": "c"}]}]
    with GatewayDouble(tokens={"sdk-token"}) as gateway:
        gateway.reply(Reply(extra={"trace_log": log}), Reply(["43", "1"]))
        gateway.reply(Reply(["朝阳区呢？"]), Reply(status=500))
        command = [str(sdk_python), "-I", "-c", SDK_PROGRAM, gateway.address]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout.splitlines()[-1])
        whole, usage, extra, pieces, streamed_usage, rewritten, error = told
        assert len(gateway.calls) == 4
    assert whole == "海淀区的面积是多少"
    assert usage == {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
    assert extra == {"search_db": [{"content": "c"}]}
    assert pieces == ["43", "1", ""]
    assert streamed_usage["completion_tokens"] == 3
    assert rewritten == "朝阳区呢？"
    assert "InternalError" in error


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_components_load_no_model_library() -> None:
    modules = loaded_by("from appbuilder import Playground, QueryRewrite; Playground(); QueryRewrite()")
    assert not modules & {"openai", "httpx2", "flask", "sqlalchemy"}


def test_the_doubles_load_no_test_framework() -> None:
    names = "GatewayDouble, OpenAIDouble, ScriptedComponent, ScriptedModel, model_named"
    modules = loaded_by(f"from appbuilder.testing import {names}")
    assert not modules & {"pytest", "_pytest", "openai", "sqlalchemy", "flask"}


def test_openais_double_answers_whole_too() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    with OpenAIDouble() as double:
        answer = httpx2.post(f"{double.base_url}/chat/completions", json=body).json()
        models = httpx2.get(f"{double.base_url}/models").json()
    assert answer["choices"][0]["message"]["content"] == "hi"
    assert answer["usage"]["total_tokens"] == 4
    assert models["data"][0]["id"] == "double"


def test_a_double_frees_its_port_and_its_clients() -> None:
    double = GatewayDouble().start()
    double.default = Reply(hang=True)
    headers = {"X-Appbuilder-Authorization": "Bearer t"}
    failed = threading.Event()

    def ask() -> None:
        url = f"{double.address}/rpc/2.0/cloud_hub/v1/ai_engine/copilot_engine/v1/api/llm/playground"
        with pytest.raises(httpx2.HTTPError):
            httpx2.post(url, json={"query": "x", "response_mode": "blocking"}, headers=headers, timeout=20)
        failed.set()

    thread = threading.Thread(target=ask)
    thread.start()
    double.wait_for_requests(1)
    double.stop()
    assert failed.wait(5)
    thread.join()
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(double.address)


def test_waiting_in_vain() -> None:
    with GatewayDouble() as double, pytest.raises(TimeoutError):
        double.wait_for_requests(1, timeout=0.05)


# Components


def test_a_scripted_component() -> None:
    component = ScriptedComponent(pieces=["a", "b"], raises={1: OSError("x")}, raising_calls=1)
    content = component.run(Message("q"), stream=True, k=1).content
    assert content is not None
    assert next(content) == "a"
    with pytest.raises(OSError, match="x"):
        next(content)
    content.close()
    answer = component.run(Message("q"))
    assert answer.content == "ab"
    assert (component.said, component.closes, component.ends) == (3, 1, 1)
    assert [(call.content, call.stream, call.args) for call in component.calls] == [
        ("q", True, {"k": 1}),
        ("q", False, {}),
    ]


def test_a_scripted_component_waits() -> None:
    gates = {BEFORE: threading.Event(), 1: threading.Event()}
    component = ScriptedComponent(gates=gates)
    said: list[str] = []

    def run() -> None:
        said.extend(component.run(Message("q"), stream=True).content or ())

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,))
    thread.start()
    component.wait_for(lambda c: len(c.calls) == 1)
    assert component.said == 0
    gates[BEFORE].set()
    component.wait_for(lambda c: c.said == 1)
    gates[1].set()
    thread.join()
    assert said == ["你", "好"]


def test_an_asynchronous_scripted_component() -> None:
    async def run() -> tuple[list[str], str]:
        component = AsyncScriptedComponent(pieces=["a", "b"])
        content = (await component.arun(Message("q"), stream=True)).content
        assert content is not None
        pieces = [piece async for piece in content]
        await content.aclose()
        assert (component.said, component.ends, component.closes) == (2, 1, 1)
        failing = AsyncScriptedComponent(raises={BEFORE: OSError("x")})
        with pytest.raises(OSError, match="x"):
            await failing.arun(Message("q"))
        return pieces, (await component.arun(Message("q"))).content or ""

    assert asyncio.run(run()) == (["a", "b"], "ab")


# Models


def test_a_scripted_model() -> None:
    with model_named("scripted", ScriptedModel(lambda call: call.inputs["query"])):
        assert Playground(model="scripted").run(Message("你好")).content == "你好"
        assert Playground(model="scripted/x").run(Message("你好")).token_usage["completion_tokens"] == 2


def test_a_faulty_model() -> None:
    good = ScriptedModel()
    faults = [Fault(ModelUnavailable("x")), Fault(ModelUnavailable("y"), after=1), None]
    with model_named("faulty", FaultyModel(good, *faults)):
        playground = Playground(model="faulty")
        with pytest.raises(ModelUnavailable, match="x"):
            playground.run(Message("你好"))
        content = playground.run(Message("你好"), stream=True).content
        assert content is not None
        assert next(content) == "你"
        with pytest.raises(ModelUnavailable, match="y"):
            next(content)
        content.close()
        assert good.closes == 1
        assert playground.run(Message("你好")).content == "你好"


def test_a_silent_model_ends_with_its_turn() -> None:
    def run() -> None:
        context = init_context("s", "r")
        timer = threading.Timer(0.05, context.cancel_token.cancel)
        timer.start()
        with model_named("silent", FaultyModel(ScriptedModel(), Fault(after=1, silence=threading.Event()))):
            content = Playground(model="silent").run(Message("你好"), stream=True).content
            assert content is not None
            assert next(content) == "你"
            with pytest.raises(TurnCancelled):
                next(content)
        timer.join()

    contextvars.copy_context().run(run)
