"""Real clients against a running service: the openai package, and the llm command-line tool."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.process.openai_serving import MODEL, Talking, do, talking
from tests.process.serving import eventually


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talking]:
    # Streams begin at once and say all the time that they live.
    with talking(tmp_path_factory.mktemp("clients"), FIRST_PIECE_WAIT="0.05", HEARTBEAT="0.05") as running:
        yield running


@pytest.fixture
def client(service: Talking) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=service.base_url, api_key="any") as asking:
        yield asking


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).owned_by == "appbuilder"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-5")


def test_a_whole_completion(client: openai.OpenAI) -> None:
    told = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "你好"}], temperature=0.25, user="somebody"
    )
    content = json.loads(told.choices[0].message.content or "")
    assert (content["said"], content["temperature"]) == ("你好", 0.25)
    assert told.usage is not None
    assert told.usage.total_tokens == 7
    assert told._request_id


def test_a_conversation_in_streams(client: openai.OpenAI) -> None:
    messages = []
    sessions = set()
    for text in ("one", "two", "three"):
        messages.append({"role": "user", "content": text})
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL,
            messages=messages,
            stream=True,
            stream_options={"include_usage": True},  # type: ignore[call-overload]
        )
        sessions.add(raw.headers["x-appbuilder-session-id"])
        chunks = list(raw.parse())
        assert chunks[-1].usage.total_tokens == 7
        answer = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert json.loads(answer)["before"] == [each["content"] for each in messages[:-1:2]]
        messages.append({"role": "assistant", "content": answer})
    assert len(sessions) == 1


def test_a_session_by_name(client: openai.OpenAI) -> None:
    for before in ([], ["hi"]):
        told = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hi"}], extra_body={"session_id": "by-name"}
        )
        assert json.loads(told.choices[0].message.content or "")["before"] == before


def test_the_package_s_own_way_to_stream(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=[{"role": "user", "content": "x"}]) as stream:
        content = stream.get_final_completion().choices[0].message.content
    assert json.loads(content or "")["said"] == "x"


def test_responses(client: openai.OpenAI) -> None:
    one = client.responses.create(model=MODEL, input="one", instructions="Be brief.")
    assert json.loads(one.output_text)["system"] == "Be brief."
    with client.responses.stream(model=MODEL, input="two", previous_response_id=one.id) as stream:
        kinds = [event.type for event in stream]
        two = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert json.loads(two.output_text)["before"] == ["one"]
    assert client.responses.retrieve(two.id).output_text == two.output_text
    assert two.conversation == one.conversation


def test_of_two_that_go_on_from_one_response_one_does(service: Talking, client: openai.OpenAI) -> None:
    first = client.responses.create(model=MODEL, input="first")

    def go_on(said: str) -> Any:
        return client.responses.create(model=MODEL, input=said, previous_response_id=first.id)

    def runs() -> int:
        return len(service.look("/runs").json()["result"]["runs"])

    with ThreadPoolExecutor() as threads:
        winning = threads.submit(go_on, do("gate", mark="race", text="one"))
        eventually(lambda: runs() == 1)
        losing = threads.submit(go_on, "two")
        eventually(lambda: runs() == 2)
        service.open_gate("race")
        assert winning.result().output_text == "one"
        with pytest.raises(openai.BadRequestError, match="went on") as refused:
            losing.result()
    assert refused.value.param == "previous_response_id"
    assert first.conversation is not None
    turns = service.look(f"/sessions/{first.conversation.id}").json()["result"]["turns"]
    assert [turn["state"] for turn in turns] == ["complete", "complete"]


def test_an_asynchronous_client(service: Talking) -> None:
    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=service.base_url, api_key="any") as asking:
            stream = await asking.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "x"}], stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert json.loads(asyncio.run(ask()))["said"] == "x"


def test_errors_are_the_package_s_own(service: Talking, client: openai.OpenAI) -> None:
    def ask(text: str, model: str = MODEL, **more: int) -> None:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)  # type: ignore[call-overload]

    with pytest.raises(openai.NotFoundError) as missing:
        ask("x", "gpt-5")
    assert missing.value.code == "model_not_found"
    assert missing.value.request_id
    with pytest.raises(openai.BadRequestError) as refused:
        ask("x", n=2)
    assert refused.value.param == "n"
    before = service.calls
    with pytest.raises(openai.InternalServerError):
        ask(do("fail", kind="ValueError", mark="once"))
    assert service.calls == before + 1  # the package does not try again what would fail again


def test_a_turn_that_is_stopped_is_not_tried_again(service: Talking, client: openai.OpenAI) -> None:
    def stop() -> None:
        (run,) = eventually(lambda: service.look("/runs").json()["result"]["runs"])
        assert service.server.request("DELETE", f"/runs/{run['id']}").status in (200, 202)

    before = service.calls
    holding = do("say", pieces=["a"], hold=True, mark="stopped")
    with ThreadPoolExecutor() as threads, pytest.raises(openai.InternalServerError, match="stopped"):
        stopping = threads.submit(stop)
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": holding}])
    stopping.result()
    assert service.calls == before + 1


def test_a_stream_that_fails(client: openai.OpenAI) -> None:
    failing = do("fail_inside", kind="OSError", pieces=["a"])
    stream = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": failing}], stream=True
    )
    texts: list[str | None] = []
    with pytest.raises(openai.APIError, match="The component failed"):
        texts.extend(chunk.choices[0].delta.content for chunk in stream)
    assert "a" in texts
    kinds = [event.type for event in client.responses.create(model=MODEL, input=failing, stream=True)]
    assert kinds[-1] == "response.failed"


def test_signs_of_life_do_no_harm(service: Talking, client: openai.OpenAI) -> None:
    waiting = do("gate", mark="life", text="done")
    with service.stream({"messages": [{"role": "user", "content": waiting}]}) as raw:
        stream = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": waiting}], stream=True
        )
        events = client.responses.create(model=MODEL, input=waiting, stream=True)
        lines = raw.lines()
        comments = [next(line for line in lines if line.startswith(":")) for _ in range(4)]
        service.open_gate("life")
        assert comments == [": keep-alive"] * 4
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "done"
        assert [event.delta for event in events if event.type == "response.output_text.delta"] == ["done"]


def test_a_client_that_leaves(service: Talking, client: openai.OpenAI) -> None:
    holding = do("say", pieces=["a"], hold=True, mark="leaving")
    with client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": holding}], stream=True
    ) as stream:
        next(chunk for chunk in stream if chunk.choices[0].delta.content)
    eventually(lambda: service.closed("leaving") == 1)


# llm


class Llm:
    """The command-line tool, with a folder of its own."""

    def __init__(self, folder: Path, service: Talking) -> None:
        self._folder = folder
        for name, more in (("chat", ""), ("respond", "\n  responses: true")):
            with (folder / "extra-openai-models.yaml").open("a") as file:
                file.write(
                    f"- model_id: {name}\n  model_name: {MODEL}\n  api_base: {service.base_url}{more}\n"
                )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs it to its end."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LLM_"))}
        return subprocess.run(
            [sys.executable, "-m", "llm", *arguments],
            env={**kept, "LLM_USER_PATH": str(self._folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def said(self, *arguments: str) -> str:
        """What it prints."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def llm(tmp_path: Path, service: Talking) -> Llm:
    return Llm(tmp_path, service)


@pytest.mark.parametrize("streamed", [(), ("--no-stream",)], ids=["streamed", "whole"])
def test_llm(llm: Llm, streamed: tuple[str, ...]) -> None:
    first = f"first {streamed}"
    told = json.loads(llm.said("-m", "chat", *streamed, "-s", "Be brief.", first))
    assert (told["said"], told["before"], told["system"]) == (first, [], "Be brief.")
    told = json.loads(llm.said("-c", *streamed, "second"))
    assert (told["said"], told["before"]) == ("second", [first])


def test_llm_s_responses_ask_for_nothing_to_be_kept(llm: Llm) -> None:
    llm.said("-m", "respond", "first")
    told = json.loads(llm.said("-c", "second"))
    assert [each["content"] for each in told["messages"] if each["role"] == "user"] == ["first", "second"]
    assert told["before"] == []


def test_llm_with_signs_of_life_and_errors(llm: Llm) -> None:
    assert llm.said("-m", "chat", do("late", seconds=0.3, text="here")).strip() == "here"
    failed = llm.run("-m", "chat", do("fail_inside", kind="OSError", pieces=["a"]))
    assert failed.returncode == 1
    assert failed.stdout.startswith("a")
    assert "The component failed" in failed.stderr
