"""``make frameworks``: the frameworks themselves, for which the suite has stand-ins.

What their objects answer is read as its text, and the objects are refused by their name. The frameworks are
not among the suite's packages: together they are larger than all of these.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

from appbuilder.adapters.function import as_component
from appbuilder.core.component import as_answer
from appbuilder.core.message import dump
from appbuilder.errors import ConfigurationError

warnings.simplefilter("ignore")
TOKENS = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}


def of(name: str) -> Any:
    """What *name* is, as ``module:attribute``."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def answer_of(value: Any) -> tuple[Any, Any]:
    """The content and the tokens of what a function returned."""
    answer = as_answer(value)
    for _ in answer.content if hasattr(answer.content, "__next__") else ():
        pass
    members = dump(answer)
    return members["content"], members.get("token_usage")


def graph() -> Any:
    message, fake = of("langchain_core.messages:AIMessage"), of(
        "langchain_core.language_models.fake_chat_models:GenericFakeChatModel"
    )

    def model(state: Any) -> Any:
        return {"messages": [fake(messages=iter([message("hello world")])).invoke(state["messages"])]}

    made = of("langgraph.graph:StateGraph")(of("langgraph.graph:MessagesState"))
    made.add_node("model", model)
    made.set_entry_point("model")
    return made.compile()


def langchain() -> None:
    whole, chunk = of("langchain_core.messages:AIMessage"), of("langchain_core.messages:AIMessageChunk")
    result, generation = of("langchain_core.outputs:ChatResult"), of("langchain_core.outputs:ChatGeneration")
    message = whole("hello", usage_metadata=TOKENS)
    expected = ("hello", {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    dumped = of("langchain_core.load:dumpd")(message)
    as_result = result(generations=[generation(message=message)])
    for value in (message, message.model_dump(), dumped, as_result):
        assert answer_of(value) == expected, value
    assert answer_of(whole([{"type": "text", "text": "hello"}]).content_blocks)[0] == "hello"
    assert answer_of(iter([chunk("hel"), chunk(""), chunk("lo", usage_metadata=TOKENS)])) == expected
    refused(of("langchain_core.runnables:RunnableLambda")(str), "LangChain")


def langgraph() -> None:
    agent, asked = graph(), {"messages": [("user", "question")]}

    async def events() -> list[Any]:
        return [event async for event in agent.astream_events(asked, version="v2")]

    modes = [agent.stream(asked, stream_mode=mode) for mode in ("updates", "values", "messages")]
    for value in (agent.invoke(asked), *modes, iter(asyncio.run(events()))):
        assert answer_of(value)[0] == "hello world", value
    refused(agent, "LangGraph")


def pydantic_ai() -> None:
    agent = of("pydantic_ai:Agent")(of("pydantic_ai.models.test:TestModel")())
    assert answer_of(agent.run_sync("x"))[0] == "success (no tool calls)"
    refused(agent, "Pydantic AI")
    refused(agent.run_sync, "Pydantic AI")


def haystack() -> None:
    chunk = of("haystack.dataclasses:StreamingChunk")
    assert answer_of(of("haystack.dataclasses:ChatMessage").from_assistant("hello"))[0] == "hello"
    assert answer_of(iter([chunk(content="hel"), chunk(content="lo")]))[0] == "hello"
    refused(of("haystack:Pipeline")(), "Haystack")


def anthropic() -> None:
    block = {"type": "text", "text": "hello"}
    usage = {"input_tokens": 1, "output_tokens": 2}
    message = of("anthropic.types:Message").model_validate(
        {"id": "1", "type": "message", "role": "assistant", "model": "m", "content": [block],
         "stop_reason": "end_turn", "usage": usage}
    )  # fmt: skip
    assert answer_of(message)[0] == "hello"


def agents() -> None:
    refused(of("agents:Agent")(name="x"), "OpenAI Agents SDK")


def refused(thing: Any, called: str) -> None:
    told = "nothing"
    try:
        as_component(thing)
    except ConfigurationError as error:
        told = str(error)
    assert called in told, told


CHECKS: tuple[Callable[[], None], ...] = (langchain, langgraph, pydantic_ai, haystack, anthropic, agents)

if __name__ == "__main__":
    for check in CHECKS:
        check()
        print(f"{check.__name__}: read, and refused by name", file=sys.stderr)
