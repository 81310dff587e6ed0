"""Requests of OpenAI's clients: what is read out of them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.logs import by_name

from appbuilder.errors import InvalidRequest, NotFound, RateLimited, SessionBusy, Unauthenticated
from appbuilder.protocols.errors import to_problem
from appbuilder.protocols.openai import chat_completions, error_body, open_webui, response_input
from appbuilder.protocols.openai.history_digest import digest
from appbuilder.protocols.openai.messages import ROLES, ChatMessage, read_messages
from appbuilder.protocols.openai.session_names import named_session

OPEN_WEBUI = json.loads((Path(__file__).parent / "data" / "open_webui.json").read_text("utf-8"))
USER = {"role": "user", "content": "hi"}
TAKES = frozenset(("temperature", "max_output_tokens", "messages", "system", "flavour", "instructions"))


def read_chat(takes: frozenset[str] = frozenset(), **body: Any) -> chat_completions.ChatCall:
    return chat_completions.read({"model": "m", "messages": [USER], **body}, model="m", takes=takes)


def read_response(takes: frozenset[str] = frozenset(), **body: Any) -> response_input.ResponseCall:
    return response_input.read({"model": "m", "input": "hi", **body}, model="m", takes=takes)


def header(**headers: str) -> Callable[[str], str | None]:
    return by_name(headers)


def test_the_last_user_message_is_what_is_asked() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "42", "tool_call_id": "x"},
        {"role": "assistant", "content": "two"},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": [{"type": "text", "text": "three"}, {"type": "text", "text": "four"}]},
    ]
    talk = read_messages(messages)
    assert talk.message == "three\nfour"
    assert talk.system == "Be brief.\n\nBe kind."
    assert talk.before == [
        ChatMessage("user", "one"),
        ChatMessage("assistant", ""),
        ChatMessage("assistant", "two"),
    ]
    assert talk.messages == messages


def test_parts_that_are_no_text_are_handed_over_as_they_are() -> None:
    parts = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "data:,x"}}]
    talk = read_messages([{"role": "user", "content": parts}])
    assert talk.message == parts
    assert talk.asked == "what?"


BAD_CHATS: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": {"role": "user"}}, "messages"),
    ({"messages": ["hi"]}, "messages[0]"),
    ({"messages": [USER, {"role": "king", "content": "x"}]}, "messages[1].role"),
    ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"model": 7}, "model"),
    ({"n": 2}, "n"),
    ({"n": True}, "n"),
    ({"n": "1"}, "n"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": []}, "stream_options"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": True}, "top_p"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"stop": [1]}, "stop[0]"),
    ({"user": 7}, "user"),
    ({"metadata": "x"}, "metadata"),
    ({"session_id": ""}, "session_id"),
    ({"session_id": "x" * 37}, "session_id"),
    ({"session_id": 7}, "session_id"),
    ({"metadata": {"session_id": "a\nb"}}, "metadata.session_id"),
]


@pytest.mark.parametrize(("wrong", "param"), BAD_CHATS, ids=repr)
def test_chats_that_are_refused(wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_chat(**wrong)
    assert caught.value.param == param


BAD_RESPONSES: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": 7}, "input"),
    ({"input": ["hi"]}, "input[0]"),
    ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
    ({"input": [{"type": 7, "role": "user", "content": "x"}]}, "input[0].type"),
    ({"input": [{"role": "user", "content": None}]}, "input[0].content"),
    ({"input": [{"type": "reasoning"}]}, "input"),
    ({"instructions": 7}, "instructions"),
    ({"background": True}, "background"),
    ({"store": "no"}, "store"),
    ({"conversation": 7}, "conversation"),
    ({"conversation": {}}, "conversation"),
    ({"conversation": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
    ({"previous_response_id": 7}, "previous_response_id"),
]


@pytest.mark.parametrize(("wrong", "param"), BAD_RESPONSES, ids=repr)
def test_responses_that_are_refused(wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_response(**wrong)
    assert caught.value.param == param


@pytest.mark.parametrize("named", ["", "resp_", "resp_x", "chatcmpl-1", "resp_" + "0" * 36])
def test_a_response_that_cannot_be_ours(named: str) -> None:
    with pytest.raises(NotFound) as caught:
        read_response(previous_response_id=named)
    assert caught.value.param == "previous_response_id"


def test_another_model() -> None:
    for read in (read_chat, read_response):
        with pytest.raises(NotFound) as caught:
            read(model="gpt-5")
        told = error_body.members(to_problem(caught.value), caught.value)
        assert (told["param"], told["code"], told["type"]) == (
            "model",
            "model_not_found",
            "invalid_request_error",
        )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
messages = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from([*ROLES, "x"]) | json_values,
            "content": json_values
            | st.lists(
                st.fixed_dictionaries(
                    {"type": st.sampled_from(["text", "image_url"]) | json_values},
                    optional={"text": json_values},
                )
            ),
        },
    )
    | json_values,
    max_size=4,
)


@given(
    messages | json_values, st.sampled_from(["n", "stop", "metadata", "conversation", "seed"]), json_values
)
def test_whatever_comes_is_read_or_refused(said: Any, name: str, value: Any) -> None:
    for read, member in ((read_chat, "messages"), (read_response, "input")):
        refused = None
        try:
            call = read(**{member: said, name: value})
        except InvalidRequest as error:
            refused = error
        assert refused.param if refused is not None else call.talk.message is not None


def test_what_the_component_takes_is_passed_on_and_nothing_else() -> None:
    body: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.1,
        "max_tokens": 7,
        "tools": [],
        "flavour": "x",
        "n": 1,
        "messages": [{"role": "system", "content": "Be brief."}, USER],
    }
    assert read_chat(**body).args == {}
    assert read_chat(TAKES, **body).args == {
        "temperature": 0.5,
        "max_output_tokens": 7,
        "flavour": "x",
        "system": "Be brief.",
        "messages": body["messages"],
    }
    assert read_chat(TAKES, temperature=None).args == {"messages": [USER]}
    assert read_chat(frozenset({"max_tokens", "max_output_tokens"}), max_completion_tokens=3).args == {
        "max_tokens": 3,
        "max_output_tokens": 3,
    }


def test_instructions_of_a_response() -> None:
    call = read_response(TAKES, instructions="Be brief.")
    assert call.args == {
        "instructions": "Be brief.",
        "system": "Be brief.",
        "messages": [{"role": "system", "content": "Be brief."}, USER],
    }
    assert read_response(frozenset({"message", "stream"}), message=7).args == {}


CALLS = [
    {
        "type": "function_call",
        "call_id": "c1",
        "name": "f",
        "arguments": "{}",
        "id": "fc_1",
        "status": "completed",
    },
    {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
]
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}},
    ],
}
RESULTS = [
    {"type": "function_call_output", "call_id": "c1", "output": "3"},
    {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "4"}]},
    {"type": "shell_call_output", "call_id": "c3", "output": [{"stdout": "5"}]},
]
GIVEN_BACK = [
    {"role": "tool", "tool_call_id": "c1", "content": "3"},
    {"role": "tool", "tool_call_id": "c2", "content": [{"type": "input_text", "text": "4"}]},
]


def test_items_become_messages() -> None:
    call = read_response(
        frozenset({"messages"}),
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "one"}]},
            {"type": "reasoning", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "two"}]},
            *CALLS,
            *RESULTS[:2],
            {"role": "user", "content": "four"},
        ],
    )
    assert call.talk.before == [
        ChatMessage("user", "one"),
        ChatMessage("assistant", "two"),
        ChatMessage("assistant", ""),
    ]
    assert call.talk.message == "four"
    assert call.args["messages"][2:-1] == [CALLED, *GIVEN_BACK]


def test_results_of_tools_alone() -> None:
    call = read_response(frozenset({"messages"}), input=RESULTS[:2])
    assert (call.talk.message, call.talk.asked, call.talk.before) == ("3\n4", "", [])
    assert call.args["messages"] == GIVEN_BACK
    assert read_chat(messages=GIVEN_BACK[:1]).talk.message == "3"
    with pytest.raises(InvalidRequest):
        read_response(input=CALLS)


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "function_call", "name": "f", "arguments": "{}"}, "input[0].call_id"),
        ({"type": "function_call", "call_id": "c", "arguments": "{}"}, "input[0].name"),
        ({"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}, "input[0].arguments"),
        ({"type": "function_call_output", "call_id": 7, "output": ""}, "input[0].call_id"),
        ({"type": "function_call_output", "call_id": "c", "output": 7}, "input[0].output"),
        ({"type": "item_reference"}, "input[0].id"),
        ({"type": "item_reference", "id": 7}, "input[0].id"),
    ],
    ids=repr,
)
def test_items_that_are_refused(item: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_response(input=[item, USER])
    assert caught.value.param == param


def test_references_to_items() -> None:
    call = read_response(
        frozenset({"messages", "instructions"}),
        instructions="Be brief.",
        input=[
            {"role": "user", "content": "one"},
            {"id": "msg_1"},
            {"type": "item_reference", "id": "msg_2"},
            USER,
        ],
    )
    assert call.references == ["msg_1", "msg_2"]
    told = response_input.resolved(call, {"msg_1": "two", "msg_2": "three"})
    assert [each["content"] for each in told.args["messages"]] == ["Be brief.", "one", "two", "three", "hi"]
    assert told.talk.before == [
        ChatMessage("user", "one"),
        ChatMessage("assistant", "two"),
        ChatMessage("assistant", "three"),
    ]


# Ranges

TOOL = {"type": "function", "function": {"name": "f"}}
OUT_OF_RANGE: list[tuple[str, Any, str]] = [
    ("temperature", 9, "temperature"),
    ("temperature", -0.1, "temperature"),
    ("top_p", 1.1, "top_p"),
    ("frequency_penalty", 2.1, "frequency_penalty"),
    ("presence_penalty", -3, "presence_penalty"),
    ("max_tokens", -5, "max_tokens"),
    ("max_tokens", 0, "max_tokens"),
    ("max_completion_tokens", -1, "max_completion_tokens"),
    ("max_output_tokens", 0, "max_output_tokens"),
    ("top_logprobs", 99, "top_logprobs"),
    ("top_logprobs", True, "top_logprobs"),
    ("seed", 2**63, "seed"),
    ("seed", 0.5, "seed"),
    ("stop", ["a"] * 5, "stop"),
    ("stop", 5, "stop"),
    ("tools", "no", "tools"),
    ("tools", [5], "tools[0]"),
    ("tools", [{"name": "f"}], "tools[0].type"),
    ("tools", [{"type": 5}], "tools[0].type"),
    ("tool_choice", "sometimes", "tool_choice"),
    ("tool_choice", 5, "tool_choice"),
    ("tool_choice", {}, "tool_choice.type"),
    ("parallel_tool_calls", "yes", "parallel_tool_calls"),
    ("metadata", {"a": 7}, "metadata.a"),
    ("metadata", {"a": "x" * 513}, "metadata.a"),
    ("metadata", {str(at): "" for at in range(17)}, "metadata"),
    ("metadata", {"n" * 65: ""}, "metadata." + "n" * 65),
    ("metadata", {str(at): 7 for at in range(100_000)}, "metadata"),
    ("service_tier", "first class", "service_tier"),
    ("prompt_cache_retention", "for ever", "prompt_cache_retention"),
    ("prompt_cache_key", 7, "prompt_cache_key"),
    ("safety_identifier", [], "safety_identifier"),
    ("store", 1, "store"),
    ("stream", 0, "stream"),
    ("stream_options", "x", "stream_options"),
]
OUT_OF_RANGE_IN_CHATS: list[tuple[str, Any, str]] = [
    ("response_format", 5, "response_format"),
    ("response_format", {}, "response_format"),
    ("response_format", {"type": "xml"}, "response_format"),
    ("response_format", {"type": "json_schema"}, "response_format.json_schema"),
    ("response_format", {"type": "json_schema", "json_schema": {}}, "response_format.json_schema.name"),
    ("tools", [{"type": "function"}], "tools[0].function"),
    ("tools", [TOOL, {"type": "function", "function": {"name": ""}}], "tools[1].function.name"),
    (
        "tools",
        [{"type": "function", "function": {"name": "f", "parameters": "no"}}],
        "tools[0].function.parameters",
    ),
    ("tools", [TOOL] * 129, "tools"),
    ("functions", [{}], "functions[0].name"),
    ("function_call", 5, "function_call"),
    ("logit_bias", {"50256": -101}, "logit_bias.50256"),
    ("logit_bias", [], "logit_bias"),
    ("logit_bias", {str(at): 101 for at in range(100_000)}, "logit_bias"),
    ("logit_bias", {"1": 0, "2": 101, "10000": 101}, "logit_bias.2"),
    ("logprobs", 5, "logprobs"),
    ("modalities", ["video"], "modalities[0]"),
    ("modalities", "text", "modalities"),
    ("reasoning_effort", "extreme", "reasoning_effort"),
    ("verbosity", "chatty", "verbosity"),
    ("prediction", {"content": "x"}, "prediction.type"),
]
OUT_OF_RANGE_IN_RESPONSES: list[tuple[str, Any, str]] = [
    ("text", 5, "text"),
    ("text", {"format": 5}, "text.format"),
    ("text", {"format": {"type": "json_schema", "name": "n"}}, "text.format.schema"),
    ("text", {"verbosity": "chatty"}, "text.verbosity"),
    ("tools", [{"type": "function"}], "tools[0].name"),
    ("reasoning", "high", "reasoning"),
    ("reasoning", {"effort": "extreme"}, "reasoning.effort"),
    ("max_tool_calls", 0, "max_tool_calls"),
    ("truncation", "sometimes", "truncation"),
    ("include", "all", "include"),
    ("include", [5] * 20, "include[0]"),
    ("include", [5] * 100_000, "include"),
    ("prompt", "p", "prompt"),
    ("instructions", ["x"], "instructions"),
]


def _short(value: Any) -> str:
    return str(value)[:40]


@pytest.mark.parametrize(("name", "value", "param"), OUT_OF_RANGE + OUT_OF_RANGE_IN_CHATS, ids=_short)
def test_chats_out_of_range(name: str, value: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_chat(**{name: value})
    assert caught.value.param == param
    assert name in str(caught.value)


@pytest.mark.parametrize(("name", "value", "param"), OUT_OF_RANGE + OUT_OF_RANGE_IN_RESPONSES, ids=_short)
def test_responses_out_of_range(name: str, value: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_response(**{name: value})
    assert caught.value.param == param


def test_the_edges_of_ranges_null_and_what_is_not_known() -> None:
    both: dict[str, Any] = {
        "temperature": 2, "top_p": 0, "max_output_tokens": 1, "top_logprobs": 20, "seed": -(2**63),
        "stop": ["a"] * 4, "tools": [{"type": "web_search"}], "tool_choice": {"type": "any"},
        "metadata": {"n" * 64: "v" * 512, "a": None},
        "stream_options": {"include_usage": None, "later": 1}, "a_later_member": [1], "frequency_penalty": -2,
    }  # fmt: skip
    read_chat(
        **both, logit_bias={"1": 100}, response_format={"type": "json_object"}, functions=[{"name": "f"}]
    )
    read_response(**both, text={"format": None}, reasoning={"effort": None, "later": 1}, max_tool_calls=1)
    names = {name for name, *_ in OUT_OF_RANGE + OUT_OF_RANGE_IN_CHATS + OUT_OF_RANGE_IN_RESPONSES}
    nothing: Any = dict.fromkeys(names)
    read_chat(**nothing)
    read_response(**nothing)


# Sessions


def test_where_a_session_is_named() -> None:
    headers = {"X-Appbuilder-Session-Id": "a", "X-OpenWebUI-Chat-Id": "b"}
    assert named_session(by_name(headers), "c") == "a"
    assert named_session(by_name({"X-OpenWebUI-Chat-Id": "b"}), "c") == "b"
    assert named_session(header(), "c") == "c"
    assert named_session(header(), None) is None
    assert read_chat(session_id="s", metadata={"session_id": "t"}).session_id == "s"
    assert read_chat(metadata={"session_id": "t"}).session_id == "t"
    for conversation in ("s", {"id": "s"}):
        assert read_response(conversation=conversation, session_id="t").session_id == "s"
    with pytest.raises(InvalidRequest):
        named_session(by_name({"X-Appbuilder-Session-Id": ""}), None)


def test_open_webui_s_chats() -> None:
    def session(chat_id: str) -> str | None:
        return open_webui.session_of(by_name({"X-OpenWebUI-Chat-Id": chat_id}))

    chat_id = OPEN_WEBUI["chat_header"]["X-OpenWebUI-Chat-Id"]
    assert session(chat_id) == chat_id
    for temporary in ("local:AbCdEf", "temporary:AbCdEf", "channel:" + chat_id, "new:x", ":", "a:b:c"):
        assert session(temporary) is None
    long = session("x" * 300)
    assert long is not None
    assert len(long) == 36
    assert long == session("x" * 300) != session("x" * 301)
    assert session("münchen".encode().decode("latin-1")) == session("münchen") == "münchen"


def test_open_webui_s_users() -> None:
    headers = OPEN_WEBUI["user_headers"]
    user = open_webui.user_of(by_name(headers))
    assert user == open_webui.User("3f0f5c1c-6a1e-4a46-8d4a-0d7f5a1b2c3d", "juergen@example.com")
    without = {name: value for name, value in headers.items() if not name.endswith("Email")}
    named = open_webui.user_of(by_name(without))
    assert named is not None
    assert named.label == "Jürgen Groß"
    assert open_webui.user_of(header()) is None
    email = "王芳@example.com".encode().decode("latin-1")
    chinese = open_webui.user_of(by_name({**headers, "X-OpenWebUI-User-Email": email}))
    assert chinese is not None
    assert chinese.label == "王芳@example.com"


def test_open_webui_s_own_requests() -> None:
    def is_task(body: Mapping[str, Any], **headers: str) -> bool:
        return open_webui.is_task(by_name(headers), read_messages(body["messages"]).messages)

    for name, body in OPEN_WEBUI["tasks"].items():
        assert is_task(body), name
    for name in ("with_retrieval", "with_system_prompt_and_picture"):
        assert not is_task(OPEN_WEBUI[name]), name
        assert is_task(OPEN_WEBUI[name], **{"X-OpenWebUI-Task": "title_generation"})
        assert not is_task(OPEN_WEBUI[name], **{"X-OpenWebUI-Task": ""})
    for body in OPEN_WEBUI["turns"]:
        assert not is_task(body)


# Digests

texts = st.text(alphabet=st.sampled_from("ab \n\t你🎉\u2028.") | st.characters())
dialogues = st.lists(
    st.builds(ChatMessage, st.sampled_from(["user", "assistant"]), texts), min_size=1, max_size=6
)


@given(dialogues, st.data())
def test_a_history_is_recognized_however_a_client_sends_it(
    said: list[ChatMessage], data: st.DataObject
) -> None:
    sent: list[dict[str, Any]] = []
    for each in said:
        spaced = data.draw(
            st.sampled_from(
                [
                    each.text,
                    each.text.strip(),
                    f"\n {each.text} ",
                    each.text.replace("\n", "\r\n"),
                ]
            )
        )
        cut = data.draw(st.integers(0, len(spaced)))
        parts = [{"type": "text", "text": spaced[:cut]}, {"type": "text", "text": spaced[cut:]}]
        sent.append({"role": each.role, "content": data.draw(st.sampled_from([spaced, parts]))})
        if data.draw(st.booleans()):
            sent.append({"role": "assistant", "content": None})
    talk = read_messages([{"role": "system", "content": data.draw(texts)}, *sent, USER])
    assert digest(talk.before) == digest(said)


@given(dialogues, dialogues)
def test_other_histories_have_other_digests(one: list[ChatMessage], two: list[ChatMessage]) -> None:
    def bare(said: list[ChatMessage]) -> list[tuple[str, str]]:
        return [(each.role, text) for each in said if (text := "".join(each.text.split()))]

    assert (digest(one) == digest(two)) == (bare(one) == bare(two))
    assert len(digest(one)) == 64


# Errors


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (InvalidRequest("x", param="n"), "invalid_request_error", None),
        (Unauthenticated("x"), "invalid_request_error", "invalid_api_key"),
        (SessionBusy("x"), "invalid_request_error", "session_busy"),
        (RateLimited("x"), "rate_limit_error", "rate_limit_exceeded"),
        (NotFound("x"), "invalid_request_error", "not_found"),
        (NotFound("x", param="previous_response_id"), "invalid_request_error", "previous_response_not_found"),
        (OSError("secret"), "server_error", None),
    ],
)
def test_errors(error: Exception, kind: str, code: str | None) -> None:
    told = json.loads(error_body.body(to_problem(error), error, "r"))["error"]
    assert told.keys() == {"message", "type", "param", "code", "request_id"}
    assert (told["type"], told["code"], told["request_id"]) == (kind, code, "r")
    assert told["param"] == (getattr(error, "param", None) or None)
    assert "secret" not in told["message"]
