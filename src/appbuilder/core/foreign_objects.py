"""Objects of other frameworks: refused by name when a service starts, with the lines that serve them.

Recognized by the module of their class; no framework is imported. What has a ``run(message, stream)`` that
the program wrote itself is a component, whatever it derives from.
"""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any, NamedTuple

from appbuilder.errors import ConfigurationError


class _Framework(NamedTuple):
    """:param called: what an object of it is; *lines*: the body of a function that asks it, ``{}`` its name;
    *variable*: its usual name.
    """

    called: str
    lines: str
    variable: str = "agent"

    @property
    def answers(self) -> bool:
        """Whether an object of it is what the program is about: a client is there to be used."""
        return self is not _CLIENT


_LANGCHAIN = _Framework("a LangChain object", "return {}.invoke(message)", "chain")
_AUTOGEN = _Framework("an AutoGen agent", "return (await {}.run(task=message)).messages[-1].content")
_GRADIO = _Framework("a Gradio interface", "return {}.fn(message)  # or what it calls", "demo")
_CHAINLIT = _Framework("part of a Chainlit application", "return ...  # the answer to message")
_APPLICATION = _Framework("a web application", "return ...  # the answer to message", "app")
_CLIENT = _Framework(
    "a client of a model server",
    'return {}.chat.completions.create(model="...", messages=[{{"role": "user", "content": message}}])',
    "client",
)

_FRAMEWORKS = {
    "pydantic_ai": _Framework("a Pydantic AI agent", "return (await {}.run(message)).output"),
    "haystack": _Framework(
        "a Haystack pipeline or component",
        'return {}.run({{"prompt_builder": {{"question": message}}}})["llm"]["replies"][0]',
        "pipeline",
    ),
    "langgraph": _Framework(
        "a LangGraph graph",
        'return {}.invoke({{"messages": [("user", message)]}})["messages"][-1].content',
        "graph",
    ),
    **dict.fromkeys(
        ("langchain", "langchain_core", "langchain_classic", "langchain_community", "langserve"), _LANGCHAIN
    ),
    "agents": _Framework(
        "an agent of the OpenAI Agents SDK", "return (await Runner.run({}, message)).final_output"
    ),
    "crewai": _Framework("a CrewAI crew", 'return {}.kickoff(inputs={{"message": message}}).raw', "crew"),
    "smolagents": _Framework("an agent of smolagents", "return {}.run(message)"),
    "llama_index": _Framework("a LlamaIndex engine or agent", "return str({}.chat(message))", "engine"),
    "workflows": _Framework(
        "a LlamaIndex workflow", "return str(await {}.run(user_msg=message))", "workflow"
    ),
    "google.adk": _Framework(
        "an agent of Google ADK", "return ...  # the text of the last event of Runner(agent={}, ...).run(...)"
    ),
    "agentscope": _Framework(
        "an agent of AgentScope", 'return (await {}(Msg("user", message, "user"))).get_text_content()'
    ),
    **dict.fromkeys(("autogen", "autogen_agentchat", "autogen_core", "autogen_ext", "ag2"), _AUTOGEN),
    "semantic_kernel": _Framework(
        "an agent of Semantic Kernel", "return str((await {}.get_response(messages=message)).content)"
    ),
    "agent_framework": _Framework("an agent of Agent Framework", "return (await {}.run(message)).text"),
    "agno": _Framework("an Agno agent", "return {}.run(message).content"),
    "strands": _Framework("a Strands agent", "return str({}(message))"),
    "transformers": _Framework(
        "a pipeline or model of transformers", 'return {}(message)[0]["generated_text"]', "pipe"
    ),
    "dspy": _Framework("a DSPy module", "return {}(question=message).answer", "program"),
    "gradio": _GRADIO,
    "gradio_client": _GRADIO,
    "chainlit": _CHAINLIT,
    **dict.fromkeys(
        ("fastapi", "starlette", "flask", "quart", "django", "sanic", "litestar", "aiohttp", "bottle",
         "tornado", "falcon", "streamlit"),
        _APPLICATION,
    ),
    **dict.fromkeys(("openai", "anthropic", "litellm"), _CLIENT),
}  # fmt: skip


_MARKS = {"agents": "function_tool", "workflows": "StartEvent"}
"""What the packages have whose names a program may well give to a module of its own."""


def check(thing: Any, name: str = "") -> None:
    """Refuses an object, class or method of another framework, and what is no object that answers at all.

    :param name: what the program calls it.
    :raises ConfigurationError: the sentence says what it is, and shows the function to write.
    """
    if inspect.ismodule(thing):
        raise ConfigurationError(
            f"{thing.__name__} is a module: give the function or component in it, as {thing.__name__}.agent."
        )
    if isinstance(thing, (str, bytes)):
        raise ConfigurationError(
            "A text cannot answer a message: give the function or component itself, not its name."
        )
    framework = framework_of(thing)
    if framework is None:
        return
    known = name or framework.variable
    lines = framework.lines.format(name if name.isidentifier() else framework.variable)
    define = "async def" if "await " in lines else "def"
    raise ConfigurationError(
        f"{known} is {framework.called} ({_class_of(thing)}), which is not served as it is: "
        f"write a function that asks it, and serve that:\n\n"
        f"    {define} answer(message: str):\n        {lines}"
    )


def framework_of(thing: Any) -> _Framework | None:
    """The framework that *thing* is of; None: of none that is known."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    thing = thing.__self__ if inspect.ismethod(thing) else thing
    kinds = inspect.getmro(thing if inspect.isclass(thing) else type(thing))
    framework = next((found for kind in kinds if (found := _framework(kind)) is not None), None)
    if framework is None or any(_answers(kind) and _framework(kind) is None for kind in kinds):
        return None
    return framework


def _framework(kind: type) -> _Framework | None:
    parts = kind.__module__.split(".")
    mark = _MARKS.get(parts[0])
    if mark is not None and not hasattr(sys.modules.get(parts[0]), mark):
        return None
    return _FRAMEWORKS.get(parts[0]) or _FRAMEWORKS.get(".".join(parts[:2]))


def _answers(kind: type) -> bool:
    """Whether a class itself defines a ``run`` or ``arun`` of the package's form."""
    for name in ("run", "arun"):
        run = vars(kind).get(name)
        if callable(run) and {"message", "stream"} <= set(inspect.signature(run).parameters):
            return True
    return False


def _class_of(thing: Any) -> str:
    while isinstance(thing, functools.partial):
        thing = thing.func
    thing = thing.__self__ if inspect.ismethod(thing) else thing
    kind = thing if inspect.isclass(thing) else type(thing)
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
