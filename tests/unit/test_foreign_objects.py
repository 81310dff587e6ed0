"""Objects of other frameworks are refused at start, by name, with the function to write."""

from __future__ import annotations

import functools
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask
from openai import AsyncOpenAI, OpenAI

from appbuilder import AgentRuntime, ChainlitRuntime, FlaskRuntime
from appbuilder.adapters.function import as_component
from appbuilder.errors import ConfigurationError
from appbuilder.runtime.loading import load
from appbuilder.runtime.service_runtime import ServiceRuntime


def of(module: str, name: str = "Agent", **members: Any) -> Any:
    """An object of a class that stands in for a framework's."""
    return type(name, (), {"__module__": module, **members})()


def run(self: Any, prompt: str, **options: Any) -> str:
    return "guessed"


STANDINS = [
    (of("pydantic_ai.agent", run=run), "a Pydantic AI agent (pydantic_ai.Agent)", ".output"),
    (of("haystack.core.pipeline.pipeline", "Pipeline", run=run), "Haystack", '["replies"][0]'),
    (of("langgraph.graph.state", "CompiledStateGraph"), "LangGraph", ".invoke("),
    (of("langchain_core.runnables.base", invoke=run), "LangChain", "chain.invoke(message)"),
    (of("langchain.agents", run=run, __call__=run), "LangChain", ".invoke(message)"),
    (of("crewai.crew", "Crew", kickoff=run), "CrewAI", ".kickoff("),
    (of("smolagents.agents", run=run, __call__=run), "smolagents", ".run(message)"),
    (of("llama_index.core.chat_engine", "Engine", chat=run), "LlamaIndex", ".chat(message)"),
    (of("google.adk.agents", run_async=run), "Google ADK", "Runner("),
    (of("agentscope.agent", "ReActAgent", __call__=run), "AgentScope", "Msg("),
    (of("autogen_agentchat.agents", run=run), "AutoGen", ".run(task=message)"),
    (of("transformers.pipelines.text_generation", "Pipeline", __call__=run), "transformers", "[0]["),
    (of("gradio.interface", "Interface", __call__=run), "Gradio", ".fn(message)"),
    (of("chainlit.message", "Message"), "Chainlit", "return"),
    (FastAPI(), "a web application (fastapi.FastAPI)", "return"),
    (Flask("app"), "a web application (flask.Flask)", "return"),
    (OpenAI(api_key="k"), "a client of a model server", "client.chat.completions.create("),
    (AsyncOpenAI(api_key="k"), "a client of a model server", "client.chat.completions.create("),
]
RUNTIMES: list[Any] = [
    as_component, FlaskRuntime, ChainlitRuntime, ServiceRuntime, lambda thing: AgentRuntime(component=thing)
]  # fmt: skip


@pytest.mark.parametrize("begin", RUNTIMES)
@pytest.mark.parametrize(("thing", "called", "line"), STANDINS)
def test_an_object_of_a_framework_is_refused(begin: Any, thing: Any, called: str, line: str) -> None:
    with pytest.raises(ValueError, match="write a function that asks it") as caught:
        begin(thing)
    assert called in str(caught.value)
    assert line in str(caught.value)


def test_a_handler_of_a_framework_is_refused() -> None:
    def main(message: Any) -> None: ...

    main.__annotations__["message"] = type(of("chainlit.message", "Message"))
    with pytest.raises(ConfigurationError, match=r"main takes a chainlit\.message\.Message, .* Chainlit"):
        as_component(main)


def test_classes_methods_and_partials_of_it_are_refused_too() -> None:
    agent = STANDINS[0][0]
    own = type("Own", (type(agent),), {})
    for thing in (type(agent), own, own(), agent.run, functools.partial(agent.run, model="m")):
        with pytest.raises(ConfigurationError, match="Pydantic AI"):
            as_component(thing)


@pytest.mark.parametrize("begin", RUNTIMES)
def test_a_module_or_a_text_is_refused(begin: Any) -> None:
    for thing, sentence in ((json, "json is a module"), ("app:agent", "A text cannot answer")):
        with pytest.raises(ValueError, match=sentence):
            begin(thing)


def test_a_run_of_the_programs_own_is_accepted_whatever_it_derives_from() -> None:
    class Mine(type(STANDINS[0][0])):  # type: ignore[misc]
        def run(self, message: Any, stream: bool = False, **args: Any) -> str:
            return "own"

    mine = Mine()
    for begin in RUNTIMES:
        begin(mine)


def test_a_module_of_the_programs_own_may_have_the_name_of_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "agents", types.ModuleType("agents"))
    assert as_component(of("agents", run=run)).name == "Agent"
    monkeypatch.setattr(sys.modules["agents"], "function_tool", run, raising=False)
    with pytest.raises(ConfigurationError, match="OpenAI Agents SDK"):
        as_component(of("agents", run=run))


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    agent = 'Agent = type("Agent", (), {"__module__": "pydantic_ai", "run": lambda self, prompt: 1})\n'

    def write(text: str) -> str:
        path = tmp_path / f"app_{abs(hash(text))}.py"
        path.write_text(agent + "mine = Agent()\n" + text)
        return str(path)

    return write


def test_a_file_that_has_only_such_an_object_is_refused_by_its_name(app: Any) -> None:
    for text in ("", "def tool(city: str): ..."):
        with pytest.raises(ConfigurationError, match=r"mine is a Pydantic AI agent(.|\n)*await mine.run"):
            load(app(text))
    with pytest.raises(ConfigurationError, match="mine is a Pydantic AI agent"):
        load(app("") + ":mine")


def test_beside_such_an_object_the_function_that_asks_it_is_served(app: Any) -> None:
    assert load(app("def tool(city: str): ...\ndef answer(message: str): ...")).name == "answer"
    assert load(app("def tool(city: str): ...") + ":tool").name == "tool"
