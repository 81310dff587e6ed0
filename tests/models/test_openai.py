"""OpenAI-compatible servers."""

from __future__ import annotations

import pytest

from appbuilder import Message, Playground, QueryRewrite
from appbuilder.errors import (
    AppBuilderError,
    ConfigurationError,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
)
from appbuilder.models.base import ModelCall
from appbuilder.models.openai import OpenAIModel
from appbuilder.models.registry import resolve
from appbuilder.settings import Settings
from appbuilder.testing import OpenAIDouble, Reply

HELLO = Message("你好")


def ask(stream: bool = False, **args: object) -> str:
    answer = Playground(model="openai/m").run(HELLO, stream=stream, **args)  # type: ignore[arg-type]
    return "".join(answer.content or "")


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_is_always_streamed_with_usage(openai_server: OpenAIDouble, stream: bool) -> None:
    answer = Playground(model="openai/m").run(HELLO, stream=stream)
    assert "".join(answer.content or "") == "你好"
    assert answer.content == "你好"
    assert answer.token_usage == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    sent = openai_server.requests[0]
    assert sent.headers["authorization"] == "Bearer key-1"
    assert sent.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "你好"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 1e-10,
        "top_p": 1e-10,
        "max_tokens": 1024,
    }


def test_parameters(openai_server: OpenAIDouble) -> None:
    ask(temperature=0.7, top_p=0.5, max_output_tokens=9, stop=["。"], response_format="json_object", seed=7)
    body = openai_server.requests[0].body
    assert (body["temperature"], body["top_p"], body["max_tokens"], body["seed"]) == (0.7, 0.5, 9, 7)
    assert (body["stop"], body["response_format"]) == (["。"], {"type": "json_object"})
    assert "disable_search" not in body


def test_further_arguments_change_neither_model_nor_prompt(openai_server: OpenAIDouble) -> None:
    """Over HTTP they are members of a stranger's request."""
    assert ask(model="dear", messages=[{"role": "system", "content": "obey"}], top_k=4) == "你好"
    body = openai_server.requests[0].body
    assert (body["model"], body["messages"]) == ("m", [{"role": "user", "content": "你好"}])
    assert body["top_k"] == 4


@pytest.mark.parametrize("refusal", [400, 422])
def test_a_server_that_refuses_stream_options(openai_server: OpenAIDouble, refusal: int) -> None:
    openai_server._refuses, openai_server._refusal = {"stream_options"}, refusal
    for _ in range(2):
        answer = Playground(model="openai/m").run(HELLO)
        assert (answer.content, answer.token_usage) == ("你好", {})
    # Refused once, it is not sent again.
    assert ["stream_options" in request.body for request in openai_server.requests] == [True, False, False]


def test_a_server_like_openais_reasoning_models(openai_server: OpenAIDouble) -> None:
    openai_server._refuses = {"max_tokens", "temperature", "top_p"}
    assert ask(max_output_tokens=7) == "你好"
    body = openai_server.requests[-1].body
    assert body["max_completion_tokens"] == 7
    assert not {"max_tokens", "temperature", "top_p"} & body.keys()
    # What the program chose itself is not dropped behind its back.
    with pytest.raises(ModelRejected, match="temperature"):
        ask(temperature=0.7)


def test_a_parameter_the_program_insists_on(openai_server: OpenAIDouble) -> None:
    openai_server._refuses = {"stream_options"}
    with pytest.raises(ModelRejected, match="stream_options"):
        ask(stream_options={"include_usage": False})
    assert len(openai_server.requests) == 1


ERRORS: list[tuple[Reply, type[AppBuilderError], int]] = [
    (Reply(status=400), ModelRejected, 1),
    (Reply(status=401), ModelRejected, 1),
    (Reply(status=403), ModelRejected, 1),
    (Reply(status=404), ModelRejected, 1),
    (Reply(status=409), ModelRejected, 1),
    (Reply(status=422), ModelRejected, 1),
    (Reply(status=429), RateLimited, 3),
    (Reply(status=429, error=("insufficient_quota", "no money left")), ModelRejected, 1),
    (Reply(status=500), ModelUnavailable, 3),
    (Reply(status=504), ModelTimeout, 3),
    (Reply(raw=b""), ModelUnavailable, 3),
    (Reply(raw=b"data: {not json\n\n"), ModelUnavailable, 1),
    (Reply(raw=b'data: {"a":"\xff"}\n\n'), ModelUnavailable, 1),
    (Reply(raw=b'data: {"error":{"code":429,"message":"slow down"}}\n\n'), RateLimited, 3),
    (Reply(raw=b'data: {"error":{"code":"rate_limit_exceeded","message":"m"}}\n\n'), RateLimited, 3),
    (Reply(raw=b'data: {"error":{"type":"invalid_request_error","message":"m"}}\n\n'), ModelRejected, 1),
    (Reply(raw=b'data: {"error":"something"}\n\n'), ModelUnavailable, 3),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("reply", "error", "tries"), ERRORS)
def test_errors(
    openai_server: OpenAIDouble, reply: Reply, error: type[AppBuilderError], tries: int, stream: bool
) -> None:
    openai_server.default = reply
    with pytest.raises(error) as caught:
        ask(stream)
    assert type(caught.value) is error
    assert len(openai_server.requests) == tries


@pytest.mark.parametrize(
    "reply",
    [
        Reply(["一", "二", "三"], cut_after=2),
        Reply(["一", "二", "三"], error_after=2),
        Reply(["一", "二"], unfinished=True),
    ],
)
def test_a_broken_stream_is_not_tried_again(openai_server: OpenAIDouble, reply: Reply) -> None:
    openai_server.default = reply
    answer = Playground(model="openai/m").run(HELLO, stream=True)
    said = []
    with pytest.raises(ModelUnavailable):
        for piece in answer.content or ():
            said.append(piece)
    assert said == ["一", "二"]
    with pytest.raises(ModelUnavailable):
        ask()
    assert len(openai_server.requests) == 2


def test_silence_is_a_timeout(openai_server: OpenAIDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPBUILDER_MODEL_RETRIES", "0")
    monkeypatch.setenv("APPBUILDER_MODEL_TIMEOUT", "0.2")
    openai_server.default = Reply(hang=True)
    with pytest.raises(ModelTimeout):
        ask()
    openai_server.default = Reply(silent_after=1)
    with pytest.raises(ModelTimeout):
        ask()
    openai_server.wait_for_left(2)


def test_a_closed_answer_closes_its_connection(openai_server: OpenAIDouble) -> None:
    openai_server.reply(Reply(["一", "二"], silent_after=1))
    content = Playground(model="openai/m").run(HELLO, stream=True).content
    assert content is not None
    assert next(content) == "一"
    content.close()
    openai_server.wait_for_left()


def test_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    call = ModelCall("playground", {"query": "你好"}, [{"role": "user", "content": "你好"}])
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        OpenAIModel("m", "https://models.example/v1", "", Settings()).open(call)
    with OpenAIDouble() as double:
        # A loopback server needs none.
        stream = OpenAIModel("m", double.base_url, "", Settings()).open(call)
        assert "".join(delta.text for delta in stream) == "你好"
    with OpenAIDouble(keys={"right"}) as double, pytest.raises(ModelRejected) as caught:
        OpenAIModel("m", double.base_url, "sk-wrong", Settings()).open(call)
    assert "sk-wrong" not in str(caught.value)


def test_a_model_needs_a_name() -> None:
    for name in ("openai", "openai/", ""):
        with pytest.raises(ConfigurationError):
            resolve(name, Settings())


def test_one_setting_sends_every_model_elsewhere(
    openai_server: OpenAIDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPBUILDER_MODEL", "openai/other")
    assert Playground(model="eb-4").run(HELLO).content == "你好"
    openai_server.reply(Reply(["答案：", "朝阳区有多大", "\n"]))
    assert QueryRewrite(model="eb").run(Message(["一", "二", "三"])).content == "朝阳区有多大"
    assert [request.body["model"] for request in openai_server.requests] == ["other", "other"]
