"""The openai package inside a function: what it gives is returned or yielded as it is."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from tests.memory_store import MemoryStore
from tests.unit.engines import ask
from tests.unit.logs import pieces_in

from appbuilder.adapters.function import as_component
from appbuilder.engine.engine import Engine
from appbuilder.engine.threads.event_loop import portal
from appbuilder.settings import Settings
from appbuilder.testing import OpenAIDouble, Reply

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


@pytest.fixture
def double() -> Iterator[OpenAIDouble]:
    with OpenAIDouble() as double:
        double.default = Reply(["hel", "lo"], usage=USAGE)
        yield double


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", ["returned", "yielded", "async", "async yielded", "events"])
def test_its_answers_are_answers(double: OpenAIDouble, kind: str, streamed: bool, asked: bool) -> None:
    client = openai.OpenAI(base_url=double.base_url, api_key="k")
    asynchronous = openai.AsyncOpenAI(base_url=double.base_url, api_key="k")
    call: dict[str, Any] = {"model": "m", "stream": streamed}
    if streamed:
        call["stream_options"] = {"include_usage": True}

    def returned(message: str, history: Any) -> Any:
        messages: Any = [*history, {"role": "user", "content": message}]
        return client.chat.completions.create(messages=messages, **call)

    def yielded(message: str, history: Any) -> Any:
        answer = returned(message, history)
        yield from answer if streamed else [answer]

    async def returned_async(messages: Any) -> Any:
        return await asynchronous.chat.completions.create(messages=messages, **call)

    async def yielded_async(messages: Any) -> Any:
        answer = await returned_async(messages)
        if not streamed:
            yield answer
            return
        async for chunk in answer:
            yield chunk

    def events(message: str) -> Any:
        messages: Any = [{"role": "user", "content": message}]
        usage: Any = {"include_usage": True}
        with client.chat.completions.stream(model="m", messages=messages, stream_options=usage) as stream:
            yield from stream if streamed else [stream.get_final_completion()]

    functions = {"returned": returned, "yielded": yielded, "async": returned_async,
                 "async yielded": yielded_async, "events": events}  # fmt: skip
    engine = Engine(as_component(functions[kind]), MemoryStore(), Settings(retry_backoff=0.0))
    log = engine.start(ask(stream=asked)).log
    outcome = log.wait_outcome()
    client.close()
    portal().call(asynchronous.close, contextvars.copy_context())
    assert outcome.error is None
    assert outcome.answer is not None
    assert (outcome.answer["content"], outcome.answer["token_usage"]) == ("hello", USAGE)
    if streamed:
        assert pieces_in(log) == ["hel", "lo"]
