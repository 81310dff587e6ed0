"""The OpenAI API of a running service: sessions, ownership, errors, streams that are cut, bad input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from tests.process.openai_serving import CHAT, MODEL, RESPONSES, Talking, Told, dialogue, do, talking
from tests.process.server import Reply
from tests.process.serving import eventually, rows

INSIDE = ("Traceback", 'File "', "/site-packages/", "appbuilder.", "secret", "sqlite", "SELECT")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talking]:
    with talking(tmp_path_factory.mktemp("open"), MAX_BODY="100000") as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talking]:
    with talking(tmp_path_factory.mktemp("guarded"), AUTH="hook", AUTH_HOOK="given:in_program") as running:
        yield running


@pytest.fixture
def untouched(service: Talking) -> Iterator[Talking]:
    """The service, of which the test must not reach the component."""
    before = service.calls
    yield service
    assert service.calls == before


def check(reply: Reply, status: int, param: str | None = None, code: str | None = None) -> Any:
    """An error in OpenAI's form, with its true status."""
    assert reply.status == status, reply.body[:500]
    assert reply.headers["content-type"] == "application/json"
    error = reply.json()["error"]
    assert error.keys() == {"message", "type", "param", "code", "request_id"}
    assert error["message"]
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code)
    assert reply.headers["x-appbuilder-request-id"] == reply.headers["x-request-id"] == error["request_id"]
    assert not [word for word in INSIDE if word in error["message"]]
    return error


def stored(service: Talking, session: str | None, key: str = "said") -> list[Any]:
    """What the component has stored in a session."""
    found = rows(
        f"sqlite:///{service.server.folder}/chat.db", "session_id = :s AND message_key = :k", s=session, k=key
    )
    return [row["message_value"].get("content") for row in found]


# Sessions


def test_models(service: Talking) -> None:
    listed = service.look("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == [MODEL]
    for path in ("/v1/models", f"/v1/models/{MODEL}"):
        headers = service.look(path).headers
        assert headers["x-request-id"] == headers["x-appbuilder-request-id"] != ""
    assert service.look(f"/v1/models/{MODEL}").json() == listed["data"][0]
    check(service.look("/v1/models/gpt-5"), 404, "model", "model_not_found")


def test_a_resent_history_goes_on_and_is_stored_once(service: Talking) -> None:
    one = service.say("once")
    two = service.say("once", f"  {one.text}\n", "twice")
    three = service.say("once", one.text, "twice", two.text, "thrice")
    assert one.session == two.session == three.session
    assert (two.before, three.before) == (["once"], ["once", "twice"])
    assert stored(service, one.session) == ["once", "twice", "thrice"]


def test_a_history_nobody_knows_begins_a_session(service: Talking) -> None:
    told = service.say("never said", "never answered", "and now")
    assert told.before == []
    assert told.told["messages"] == dialogue("never said", "never answered", "and now")
    assert stored(service, told.session) == ["and now"]


def test_conversations_that_began_with_the_same_words_stay_apart(service: Talking) -> None:
    one, two = service.say("same words"), service.say("same words")
    assert one.text == two.text
    assert one.session != two.session
    secret = service.say("same words", one.text, "my secret")
    other = service.say("same words", two.text, "what do you know?")
    assert {secret.session, other.session} == {one.session, two.session}
    assert other.before == ["same words"]


def test_two_that_go_on_from_the_same_words_at_once(service: Talking) -> None:
    """The first is still answered when the second comes; it must not get into the first one's session."""
    one, _two = service.say("at once"), service.say("at once")
    holding = {"messages": dialogue("at once", one.text, do("say", pieces=["x"], hold=True, mark="at-once"))}
    with service.stream(holding) as first:
        next(event for event in first.events() if "x" in json.dumps(event["choices"][0]["delta"]))
        second = service.say("at once", one.text, "and I?")
        assert second.session != first.session
        assert second.before == ["at once"]


def test_a_conversation_that_was_forked_begins_anew(service: Talking) -> None:
    one = service.say("fork")
    service.say("fork", one.text, "left")
    right = service.say("fork", one.text, "right")
    assert right.session != one.session
    assert right.before == []


def test_what_failed_can_be_asked_again(service: Talking) -> None:
    one = service.say("try")
    failing = do("fail", kind="ValueError", mark="again")
    check(service.ask({"messages": dialogue("try", one.text, failing)}), 500)
    with service.stream({"messages": dialogue("try", one.text, failing)}) as stream:
        assert stream.status == 500
    again = service.say("try", one.text, "again")
    assert again.session == one.session
    assert again.before == ["try"]


def test_each_api_has_a_label_of_its_own_in_the_metrics(service: Talking) -> None:
    service.say("for the metrics")
    service.respond("for the metrics")

    def counted() -> bool:
        told = service.server.request("GET", "/metrics").body.decode()
        labels = [f'door="{each}",outcome="done"' for each in ("openai", "responses")]
        return all(f"appbuilder_turns_total{{{each}}}" in told for each in labels)

    eventually(counted)


def test_one_session_through_several_doors(service: Talking) -> None:
    reply = service.server.chat("on chat", session_id="doors")
    assert reply.status == 200
    assert service.say("by header", headers={"X-Appbuilder-Session-Id": "doors"}).before == ["on chat"]
    assert service.say("by body", session_id="doors").before == ["on chat", "by header"]
    service.say("by metadata", metadata={"session_id": "doors"})
    told = service.respond("as a response", conversation="doors")
    assert told.before == ["on chat", "by header", "by body", "by metadata"]
    assert (told.session, told.body["conversation"]) == ("doors", {"id": "doors"})
    last = service.server.chat("again", session_id="doors").content
    assert json.loads(last)["before"][-1] == "as a response"


def test_what_the_component_takes(service: Talking) -> None:
    system = {"role": "system", "content": "Be brief."}
    body = {
        "messages": [system, *dialogue("hi")],
        "temperature": 0.5,
        "max_tokens": 9,
        "top_p": 0.3,
        "tools": [],
        "flavour": "no argument of it",
    }
    told = Told(service.ask(body)).told
    assert (told["system"], told["temperature"], told["max_output_tokens"]) == ("Be brief.", 0.5, 9)
    assert told["messages"] == body["messages"]


def test_a_picture_goes_to_the_component(service: Talking) -> None:
    parts = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
    ]
    assert Told(service.ask({"messages": [{"role": "user", "content": parts}]})).told["said"] == parts


# Responses


def test_a_response_is_gone_on_from_and_read_again(service: Talking) -> None:
    one = service.respond("one", instructions="Be brief.", metadata={"a": "b"})
    assert (one.told["system"], one.body["instructions"], one.body["metadata"]) == (
        "Be brief.",
        "Be brief.",
        {"a": "b"},
    )
    two = service.respond("two", previous_response_id=one.body["id"])
    assert two.before == ["one"]
    assert (two.session, two.body["previous_response_id"]) == (one.session, one.body["id"])
    read = Told(service.look(f"{RESPONSES}/{two.body['id']}"))
    assert (read.body["id"], read.text, read.body["usage"]) == (two.body["id"], two.text, two.body["usage"])
    assert read.body == two.body
    assert read.body["usage"]["total_tokens"] == 7
    assert read.body["conversation"] == {"id": one.session}
    # A chat that goes on from it is one with it.
    assert service.say("three", session_id=one.session).before == ["one", "two"]
    check(
        service.ask({"input": "four", "previous_response_id": two.body["id"]}, RESPONSES),
        400,
        "previous_response_id",
    )


def test_a_resent_history_of_responses(service: Talking) -> None:
    one = service.respond("first item")
    items = [
        {"role": "user", "content": "first item"},
        *one.body["output"],
        {"role": "user", "content": "second"},
    ]
    two = service.respond(items)
    assert two.session == one.session
    assert two.before == ["first item"]


def test_a_response_that_is_not_stored(service: Talking) -> None:
    known = service.say("known")
    told = service.respond("not to be kept", store=False, conversation=known.session)
    assert told.before == ["known"]
    assert stored(service, known.session) == ["known"]
    assert (told.session, told.body["conversation"], told.body["store"]) == (None, None, False)
    alone = service.respond("nor this", store=False)
    assert (alone.session, alone.body["conversation"]) == (None, None)
    assert (
        rows(
            f"sqlite:///{service.server.folder}/chat.db",
            "message_value LIKE '%nor this%' OR message_value LIKE '%not to be kept%'",
        )
        == []
    )
    check(service.look(f"{RESPONSES}/{alone.body['id']}"), 404, None, "not_found")
    check(
        service.ask({"input": "x", "previous_response_id": alone.body["id"]}, RESPONSES),
        404,
        "previous_response_id",
        "previous_response_not_found",
    )


ASKED: dict[str, Any] = {
    "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True, "description": "d"}],
    "tool_choice": "required",
    "text": {"format": {"type": "json_object"}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": None},
    "metadata": {"a": "b"},
    "instructions": "Be brief.",
    "max_output_tokens": 9,
    "temperature": 0.5,
    "user": "who",
}


def test_what_was_asked_is_told_and_read_again(service: Talking) -> None:
    whole = service.respond("as asked", **ASKED)
    with service.stream({"input": "as asked", **ASKED}, RESPONSES) as stream:
        first, *_, last = stream.events()
    for body in (whole.body, first["response"], last["response"]):
        assert {name: body[name] for name in ASKED} == ASKED
    assert first["response"]["created_at"] == last["response"]["created_at"]
    for body in (whole.body, last["response"]):
        read = service.look(f"{RESPONSES}/{body['id']}")
        assert read.json() == body
        assert read.headers["x-request-id"]
        assert body["created_at"] <= body["completed_at"]


def test_items_are_referred_to(service: Talking) -> None:
    """As the AI SDK does by default: an answer is not sent again, its item's id is."""
    said: list[Any] = []
    before: list[str] = []
    session = None
    for text in ("ref one", "ref two", "ref three"):
        said.append({"role": "user", "content": [{"type": "input_text", "text": text}]})
        told = service.respond(said)
        assert told.before == before
        assert session in (None, told.session)
        assert [
            each["content"] for each in told.told["messages"] if each["role"] == "assistant"
        ] == before_texts(said)
        session = told.session
        before.append(text)
        item = told.body["output"][0]["id"]
        said.append({"type": "item_reference", "id": item, "text": told.text})
    # Going on from an earlier one begins a conversation, as an edit does.
    other = service.respond([*said[:2], {"role": "user", "content": "other"}])
    assert other.session != session
    assert other.before == []


def before_texts(said: list[Any]) -> list[str]:
    return [each["text"] for each in said if each.get("type") == "item_reference"]


def test_a_response_is_gone_on_from_after_a_try_that_failed(service: Talking) -> None:
    one = service.respond("before the try")
    named = {"previous_response_id": one.body["id"]}
    reference = {"type": "item_reference", "id": one.body["output"][0]["id"]}
    failing = do("fail", kind="ValueError", mark="try-again")
    check(service.ask({"input": failing, **named}, RESPONSES), 500)
    check(service.ask({"input": [reference, *dialogue(failing)]}, RESPONSES), 500)
    two = service.respond([reference, *dialogue("again")])
    assert (two.session, two.before) == (one.session, ["before the try"])
    check(service.ask({"input": "late", **named}, RESPONSES), 400, "previous_response_id")


def test_items_that_cannot_be_referred_to(guarded: Talking) -> None:
    one = guarded.respond("mine alone", key="ann")
    item = one.body["output"][0]["id"]
    before = guarded.calls
    for named in (item, "msg_x", "rs_1", "msg_" + "0" * 36):
        asked = [{"type": "item_reference", "id": named}, {"role": "user", "content": "hi"}]
        check(guarded.ask({"input": asked}, RESPONSES, "bob"), 404, "input", "not_found")
    assert guarded.calls == before
    mine = [{"type": "item_reference", "id": item}, {"role": "user", "content": "and"}]
    assert guarded.respond(mine, key="ann").before == ["mine alone"]


def test_calls_of_tools_reach_the_component(service: Talking) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c", "output": "42"}
    first = service.respond([{"role": "user", "content": "what?"}, call, result])
    assert first.told["said"] == "what?"
    assert [each["role"] for each in first.told["messages"]] == ["user", "assistant", "tool"]
    alone = service.respond([result], previous_response_id=first.body["id"])
    assert (alone.told["said"], alone.before) == ("42", ["what?"])
    assert alone.told["messages"] == [{"role": "tool", "tool_call_id": "c", "content": "42"}]


def test_a_response_that_is_stopped(service: Talking) -> None:
    asked = {"input": do("say", pieces=["x"], hold=True, mark="stopped-response")}
    with service.stream(asked, RESPONSES, **{"X-Appbuilder-Request-Id": "stopped-response"}) as stream:
        events = stream.events()
        next(event for event in events if event["type"].endswith("delta"))
        runs = service.look("/runs").json()["result"]["runs"]
        run_id = next(run["id"] for run in runs if run["request_id"] == "stopped-response")
        assert service.server.request("POST", f"/runs/{run_id}/stop").status == 200
        *_, last = events
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "stopped"}
    assert service.look(f"{RESPONSES}/{last['response']['id']}").json() == last["response"]


@pytest.mark.parametrize(
    ("why", "finish", "reason"),
    [
        ("length", "length", "max_output_tokens"),
        ("content_filter", "content_filter", "content_filter"),
        ("stop", "stop", None),
    ],
)
def test_why_an_answer_ended(service: Talking, why: str, finish: str, reason: str | None) -> None:
    asked = do("finish", why=why)
    assert service.say(asked).body["choices"][0]["finish_reason"] == finish
    with service.stream({"messages": dialogue(asked)}) as stream:
        *_, last, _done = stream.events()
    assert last["choices"][0]["finish_reason"] == finish
    whole = service.respond(asked).body
    details = None if reason is None else {"reason": reason}
    assert (whole["status"], whole["incomplete_details"]) == (
        "incomplete" if reason else "completed",
        details,
    )
    assert service.look(f"{RESPONSES}/{whole['id']}").json() == whole
    with service.stream({"input": asked}, RESPONSES) as stream:
        *_, last = stream.events()
    assert last["type"] == f"response.{whole['status']}"
    assert last["response"]["incomplete_details"] == details


def test_tokens_of_a_component_that_counts_none(service: Talking) -> None:
    asked = do("say", pieces=["x"])
    counted = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert service.say(asked).body["usage"] == counted
    with service.stream({"messages": dialogue(asked), "stream_options": {"include_usage": True}}) as stream:
        *_, last, done = stream.events()
    assert (last["choices"], last["usage"], done) == ([], counted, "[DONE]")


def test_a_failed_response_is_read_again(service: Talking) -> None:
    with service.stream({"input": do("fail_inside", kind="OSError", pieces=["a"])}, RESPONSES) as stream:
        *_, last = stream.events()
    assert last["type"] == "response.failed"
    assert last["response"]["output"][0]["content"][0]["text"] == "a"
    read = service.look(f"{RESPONSES}/{last['response']['id']}").json()
    assert (read["status"], read["error"]["code"]) == ("failed", "server_error")
    assert read == last["response"]


# Whose a session is


def test_other_callers_sessions(guarded: Talking) -> None:
    one = guarded.respond("mine", key="ann")
    again = guarded.respond("mine too", key="ann", previous_response_id=one.body["id"])
    before = guarded.calls
    for headers in (
        {"X-Appbuilder-Session-Id": one.session or ""},
        {"X-OpenWebUI-Chat-Id": one.session or ""},
    ):
        check(guarded.ask({"messages": dialogue("hi")}, CHAT, "bob", **headers), 404, None, "not_found")
        with guarded.stream({"messages": dialogue("hi")}, CHAT, "bob", **headers) as stream:
            assert stream.status == 404
    check(guarded.ask({"input": "hi", "conversation": one.session}, RESPONSES, "bob"), 404, None, "not_found")
    check(
        guarded.ask({"input": "hi", "previous_response_id": again.body["id"]}, RESPONSES, "bob"),
        404,
        "previous_response_id",
        "previous_response_not_found",
    )
    check(guarded.look(f"{RESPONSES}/{one.body['id']}", "bob"), 404, None, "not_found")
    assert guarded.calls == before
    assert guarded.look(f"{RESPONSES}/{one.body['id']}", "ann").status == 200
    assert guarded.look(f"{RESPONSES}/{one.body['id']}", "root").status == 200


def test_another_caller_s_history_is_not_recognized(guarded: Talking) -> None:
    one = guarded.say("whose?", key="ann")
    other = guarded.say("whose?", one.text, "mine!", key="bob")
    assert other.session != one.session
    assert other.before == []
    assert guarded.say("whose?", one.text, "mine!", key="ann").session == one.session


def test_nobody_known(guarded: Talking) -> None:
    before = guarded.calls
    for reply in (
        guarded.look("/v1/models"),
        guarded.look(f"/v1/models/{MODEL}"),
        guarded.look(f"{RESPONSES}/x"),
        guarded.ask({"messages": dialogue("hi")}),
        guarded.ask({"input": "hi"}, RESPONSES),
    ):
        check(reply, 401, None, "invalid_api_key")
    assert guarded.calls == before


# Streams


@pytest.mark.parametrize(
    ("path", "member", "text"), [(CHAT, "messages", "choices"), (RESPONSES, "input", "delta")]
)
def test_a_stream_that_is_cut(service: Talking, path: str, member: str, text: str) -> None:
    mark = f"cut-{member}"
    asked = do("say", pieces=["first"], hold=True, mark=mark)
    with service.stream({member: dialogue(asked)}, path) as stream:
        next(event for event in stream.events() if "first" in json.dumps(event.get(text, "")))
    eventually(lambda: service.closed(mark) == 1)
    database = f"sqlite:///{service.server.folder}/chat.db"
    answered = "session_id = :s AND message_key = 'answer'"
    eventually(
        lambda: (
            [row["message_value"].get("state") for row in rows(database, answered, s=stream.session)]
            == ["incomplete"]
        )
    )


def test_a_stream_that_fails_in_its_middle(service: Talking) -> None:
    failing = do("fail_inside", kind="OSError", pieces=["a"])
    named = {"X-Appbuilder-Request-Id": "failing"}
    with service.stream({"messages": dialogue(failing)}, **named) as stream:
        *_, last = stream.events()
    assert (last["error"]["type"], last["error"]["request_id"]) == ("server_error", "failing")
    assert "secret" not in last["error"]["message"]


def test_text_that_looks_like_the_protocol(service: Talking) -> None:
    text = "\n\ndata: [DONE]\n\n\r\u2028\u2029🎉<script>"
    with service.stream({"messages": dialogue(do("say", pieces=[text, "x"]))}) as stream:
        *chunks, done = stream.events()
    assert done == "[DONE]"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == text + "x"
    assert Told(service.ask({"messages": dialogue(do("say", pieces=[text]))})).text == text


# Bad input

GOOD_CHAT = {"messages": dialogue("hi")}
BAD: list[tuple[str, Any, int, str | None]] = [
    (CHAT, b"", 400, None),
    (CHAT, b"{", 400, None),
    (CHAT, b"\xff", 400, None),
    (CHAT, b"[]", 400, None),
    (CHAT, b'{"model": "Talking", "model": "Talking"}', 400, None),
    (CHAT, b'{"n": NaN}', 400, None),
    (CHAT, b"[" * 100_000, 400, None),
    (CHAT, b'{"x": "' + b"x" * 100_001 + b'"}', 413, None),
    (CHAT, {}, 400, "messages"),
    (CHAT, {"messages": []}, 400, "messages"),
    (CHAT, {**GOOD_CHAT, "n": 2}, 400, "n"),
    (CHAT, {**GOOD_CHAT, "stream": "yes"}, 400, "stream"),
    (CHAT, {**GOOD_CHAT, "model": "gpt-5"}, 404, "model"),
    (CHAT, {**GOOD_CHAT, "session_id": "x" * 37}, 400, "session_id"),
    (CHAT, {"messages": [{"role": "king", "content": "x"}]}, 400, "messages[0].role"),
    (CHAT, {"messages": [{"role": "user", "content": "\ud800"}]}, 400, None),
    (RESPONSES, {}, 400, "input"),
    (RESPONSES, {"input": "hi", "background": True}, 400, "background"),
    (RESPONSES, {"input": "hi", "temperature": 9}, 400, "temperature"),
    (CHAT, {**GOOD_CHAT, "max_tokens": -5}, 400, "max_tokens"),
    (RESPONSES, {"input": "hi", "previous_response_id": "resp_1"}, 404, "previous_response_id"),
]


@pytest.mark.parametrize(("path", "body", "status", "param"), BAD, ids=lambda value: repr(value)[:40])
def test_bad_input(untouched: Talking, path: str, body: Any, status: int, param: str | None) -> None:
    codes = {"model": "model_not_found", "previous_response_id": "previous_response_not_found"}
    check(untouched.ask(body, path), status, param, codes.get(param or "") if status == 404 else None)


def test_bad_headers_methods_and_paths(untouched: Talking) -> None:
    def post(**headers: str) -> Reply:
        return untouched.ask(GOOD_CHAT, CHAT, **headers)

    check(post(**{"Content-Type": "text/plain"}), 415)
    check(post(**{"Content-Encoding": "gzip"}), 415)
    for name in ("X-Appbuilder-Session-Id", "X-Appbuilder-User-Id"):
        check(post(**{name: "x" * 300}), 400, name)
    check(post(**{"X-Appbuilder-On-Disconnect": "perhaps"}), 400)
    for path in ("/v1/", "/v1/nothing", "/v1/chat", "/v1/completions", "/v1/responses/"):
        check(untouched.look(path), 404, None, "not_found")
    reply = untouched.look(CHAT)
    check(reply, 405)
    assert reply.headers["allow"] == "POST"


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_any_request(service: Talking, path: str, mode: GenerationMode) -> None:
    """Every check schemathesis has: no 5xx, documented statuses and types, bad data refused, good taken."""
    document = schemathesis.openapi.from_url(f"http://127.0.0.1:{service.server.port}/openapi.json")
    cases = document[path]["POST"].as_strategy(generation_mode=mode)

    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(cases)
    def ask(case: Any) -> None:
        case.call_and_validate()

    ask()
