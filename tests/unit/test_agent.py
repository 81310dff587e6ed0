"""AgentRuntime and ChainlitRuntime where no server runs: what they take, and what they hand on."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import appbuilder
from appbuilder import Component, FlaskRuntime, Message, UserSession
from appbuilder.core.agent import AgentRuntime
from appbuilder.errors import ConfigurationError
from appbuilder.serve.page.page_options import Page, Starter
from appbuilder.utils.chainlit_deploy import ChainlitRuntime


class Echo(Component):
    def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        return Message(iter([message.content])) if stream else message

    def tool_eval(self, query: str) -> Iterator[str]:
        yield query


class Awaiting:
    async def arun(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        return message


class Named(Echo):
    name = "小助手"
    icon = "icon.png"
    starters = ("你好", Starter("label", "question"))


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/a.db"


class Wrong:
    def run(self, question: str) -> str:
        return question


@pytest.mark.parametrize("component", [None, object(), "text", 5, Wrong(), lambda message: message])
def test_what_is_no_component(component: Any, database: str) -> None:
    with pytest.raises(ValidationError) as refused:
        AgentRuntime(component=component, user_session_config=database)
    assert isinstance(refused.value, ValueError)
    for runtime in (FlaskRuntime, ChainlitRuntime):
        with pytest.raises(ConfigurationError):
            runtime(component, database)


@pytest.mark.parametrize(
    "component", [Echo(), Awaiting(), type("Any", (), {"run": lambda self, **args: args})()]
)
def test_what_is_one(component: Any, database: str) -> None:
    for runtime in (
        AgentRuntime(component=component, user_session_config=database),
        ChainlitRuntime(component, database),
    ):
        assert runtime.component is component


def test_further_arguments_are_refused(database: str) -> None:
    for arguments in ({"secret_key": "x"}, {"Component": Echo()}, {"port": 5}):
        with pytest.raises(ValidationError, match="Extra inputs"):
            AgentRuntime(component=Echo(), user_session_config=database, **arguments)
    with pytest.raises(ValidationError, match="component"):
        AgentRuntime()
    with pytest.raises(TypeError):
        AgentRuntime(Echo())  # type: ignore[call-arg]


def test_wrong_databases(tmp_path: Path) -> None:
    for config in (5, ["sqlite://"]):
        with pytest.raises(ValueError):
            AgentRuntime(component=Echo(), user_session_config=config)
    with pytest.raises(ValidationError):
        AgentRuntime(component=Echo(), user_session=object())
    session = UserSession(f"sqlite:///{tmp_path}/own.db")
    assert AgentRuntime(component=Echo(), user_session=session).user_session is session


def test_it_has_the_methods_of_both() -> None:
    assert issubclass(AgentRuntime, FlaskRuntime)
    assert issubclass(AgentRuntime, ChainlitRuntime)
    for name in ("chat", "create_flask_app", "serve", "chainlit_component", "chainlit_component_debug"):
        assert callable(getattr(AgentRuntime, name))
    assert appbuilder.AgentRuntime is AgentRuntime


def test_the_arguments_are_the_seeds() -> None:
    def defaults(method: Any) -> dict[str, Any]:
        parameters = inspect.signature(method).parameters.values()
        return {each.name: each.default for each in parameters if each.default is not each.empty}

    page = {"host": "0.0.0.0", "port": 8091, "page": None}
    assert defaults(ChainlitRuntime.chainlit_component) == page
    assert defaults(AgentRuntime.chainlit_demo) == page
    debug = defaults(ChainlitRuntime.chainlit_component_debug)
    assert (debug["host"], debug["port"], debug["query_name"]) == ("0.0.0.0", 8092, "query")
    positional = [
        each.kind for each in inspect.signature(ChainlitRuntime.chainlit_component).parameters.values()
    ]
    assert positional.count(inspect.Parameter.KEYWORD_ONLY) == 1


def test_chat_works_without_a_server(database: str) -> None:
    agent = AgentRuntime(component=Echo(), user_session_config=database)
    assert agent.chat(Message("hello")).content == "hello"
    assert list(agent.chat(Message("hello"), stream=True).content) == ["hello"]


def test_the_application_of_flask(database: str) -> None:
    client = AgentRuntime(component=Echo(), user_session_config=database).create_flask_app().test_client()
    answered = client.post("/chat", json={"message": "hello"})
    assert answered.get_json()["result"]["answer_message"]["content"] == "hello"


class Pages:
    """What would have been served."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.served: list[dict[str, Any]] = []

        def serve(runtime: Any, engine: Any, drain: Any, host: str, port: int, page: Page) -> None:
            self.served.append(
                {"engine": engine, "host": host, "port": port, "page": runtime._completed(page)}
            )

        monkeypatch.setattr(ChainlitRuntime, "_serve_page", serve)


def test_chainlit_demo_is_chainlit_component(monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    pages = Pages(monkeypatch)
    agent = AgentRuntime(component=Echo(), user_session_config=database)
    agent.chainlit_component("127.0.0.1", 1, page=Page(name="A"))
    agent.chainlit_demo("127.0.0.1", 1, page=Page(name="A"))
    agent.chainlit_demo(host="127.0.0.1", port=1, page=Page(name="A"))
    assert pages.served[0] == pages.served[1] == pages.served[2]
    assert pages.served[0]["engine"] is agent._engine, (
        "the one that /chat has: a session has one turn at a time"
    )


def test_the_debug_page_shows_the_tool(monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    pages = Pages(monkeypatch)
    runtime = ChainlitRuntime(Echo(), database)
    runtime.chainlit_component_debug("127.0.0.1", 1, "query", {})
    assert pages.served[0]["page"].debug
    assert pages.served[0]["engine"] is not runtime._engine
    for arguments in ({"query_name": "question"}, {"tool_eval_args": {"top": 1}}):
        with pytest.raises(ConfigurationError, match="tool_eval"):
            runtime.chainlit_component_debug("127.0.0.1", 1, **arguments)
    with pytest.raises(ConfigurationError, match="no tool_eval"):
        ChainlitRuntime(Awaiting(), database).chainlit_component_debug("127.0.0.1", 1)


def test_a_page_says_what_the_component_says_of_itself(database: str) -> None:
    page = ChainlitRuntime(Named(), database)._completed(Page())
    assert (page.name, page.icon, page.starters) == ("小助手", "icon.png", Named.starters)
    own = ChainlitRuntime(Named(), database)._completed(Page(name="mine", icon="mine.svg", starters=()))
    assert (own.name, own.icon, own.starters) == ("mine", "mine.svg", ())
    assert ChainlitRuntime(Awaiting(), database)._completed(Page()).name == "Awaiting"


def test_settings_say_what_a_page_looks_like(monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    given = {"NAME": "Clerk", "ICON": "clerk.svg", "STARTERS": "Hello, you | And now?|", "THEME": "dark"}
    for name, value in {**given, "UPLOADS": "1"}.items():
        monkeypatch.setenv(f"APPBUILDER_PAGE_{name}", value)
    page = ChainlitRuntime(Named(), database)._completed(Page())
    assert (page.name, page.icon, page.theme, page.uploads) == ("Clerk", "clerk.svg", "dark", True)
    assert page.starters == ["Hello, you", "And now?"]
    own = ChainlitRuntime(Named(), database)._completed(Page(name="mine", theme="light", starters=()))
    assert (own.name, own.theme, own.starters) == ("mine", "light", ())


def test_a_page_does_not_show_its_passwords() -> None:
    assert "secret" not in repr(Page(users={"ann": "secret"}))


WITHOUT = """
import importlib.metadata, sys
missing = sys.argv[2]
sys.modules.update(dict.fromkeys([missing] if "=" not in missing else []))
name, _, installed = missing.partition("=")
of = importlib.metadata.version
importlib.metadata.version = lambda asked: of(asked) if asked != name else installed or of("no such package")
from appbuilder import AgentRuntime, Component, Message
class Echo(Component):
    def run(self, message, stream=False):
        return message
agent = AgentRuntime(component=Echo(), user_session_config=sys.argv[1])
assert agent.chat(Message("x")).content == "x"
agent.create_flask_app()
try:
    agent.chainlit_component(host="127.0.0.1", port=0)
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("chainlit", "pip install 'appbuilder-runtime[chainlit]'"),
        ("uvicorn", "pip install 'appbuilder-runtime[chainlit]'"),
        ("starlette", "pip install 'appbuilder-runtime[chainlit]'"),
        ("chainlit=2.11.9", "this is 2.11.9: pip install -U chainlit"),
    ],
)
def test_what_is_not_installed_is_named(missing: str, told: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, f"sqlite:///{tmp_path}/a.db", missing],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert told in done.stdout
