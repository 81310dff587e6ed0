"""Event handlers: dialogues that run by themselves, and what happens where the SDK's go wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.models.test_wire import WIRE

from appbuilder import AppBuilderClient
from appbuilder.core.console.appbuilder_client.data_class import AppBuilderClientAnswer, ToolOutput
from appbuilder.core.console.appbuilder_client.event_handler import (
    AppBuilderEventHandler,
    ToolCallEventHandler,
)
from appbuilder.core.message import Message
from appbuilder.testing import AppDouble, AppReply, Reply

ADD = AppReply(tool_calls=[("add", {"a": 1, "b": 2})])
BOTH = pytest.mark.parametrize("stream", [False, True])


def add(a: int, b: int) -> int:
    return a + b


@pytest.fixture
def client(app_server: AppDouble) -> AppBuilderClient:
    return AppBuilderClient("app-1")


@pytest.fixture
def conversation(client: AppBuilderClient) -> str:
    return client.create_conversation()


class Answering(AppBuilderEventHandler):
    """Returns *outputs* for every tool call; notes the statuses it sees."""

    def __init__(self, outputs: Any = None) -> None:
        self.outputs = outputs
        self.statuses: list[str] = []

    def handle_content_type(self, run_context: Any, run_response: Any) -> None:
        self.statuses.append(run_context.current_status)

    def interrupt(self, run_context: Any, run_response: Any) -> Any:
        return self.outputs


@BOTH
def test_functions_are_called_until_the_answer_is_there(
    app_server: AppDouble, client: AppBuilderClient, conversation: str, stream: bool
) -> None:
    app_server.reply(ADD, ADD, AppReply(["drei"], published=["!"]))
    handler = ToolCallEventHandler([add])
    client.run_with_handler(conversation, "1 + 2", stream=stream, event_handler=handler).until_done()
    assert handler.result == "drei!"
    outputs = [[{"tool_call_id": f"call-{number}", "output": "3"}] for number in (1, 2)]
    assert [run.body["tool_outputs"] for run in app_server.runs] == [None, *outputs]


@BOTH
def test_what_a_dialogue_yields(
    app_server: AppDouble, client: AppBuilderClient, conversation: str, stream: bool
) -> None:
    app_server.reply(ADD)
    answering = Answering([ToolOutput(tool_call_id="call-1", output="3")])
    handler = client.run_with_handler(conversation, "q", stream=stream, event_handler=answering)
    first = next(handler)
    rest = list(handler)
    kind = AppBuilderClientAnswer if stream else Message
    assert all(type(one) is kind for one in (first, *rest))
    assert len(rest) == (5 if stream else 1)
    assert list(handler) == []


@BOTH
@pytest.mark.parametrize("outputs", [None, [], "3", [{}], [{"tool_call_id": "call-1", "output": 3}], [5]])
def test_outputs_that_are_none(
    app_server: AppDouble, client: AppBuilderClient, conversation: str, stream: bool, outputs: Any
) -> None:
    app_server.reply(ADD)
    run = client.run_with_handler(conversation, "q", stream=stream, event_handler=Answering(outputs))
    with pytest.raises(ValueError, match=r"interrupt\(\)"):
        run.until_done()
    assert len(app_server.runs) == 1


@BOTH
def test_a_function_the_application_was_not_given(
    app_server: AppDouble, client: AppBuilderClient, conversation: str, stream: bool
) -> None:
    app_server.reply(ADD)
    client.run_with_handler(
        conversation, "q", stream=stream, event_handler=ToolCallEventHandler([len])
    ).until_done()
    assert app_server.runs[1].body["tool_outputs"] == [{"tool_call_id": "call-1", "output": ""}]


@BOTH
def test_a_function_that_raises_ends_the_dialogue(
    app_server: AppDouble, client: AppBuilderClient, conversation: str, stream: bool
) -> None:
    def add(a: int, b: int) -> None:
        raise KeyError("broken")

    app_server.reply(ADD)
    run = client.run_with_handler(
        conversation, "q", stream=stream, event_handler=ToolCallEventHandler([add])
    )
    with pytest.raises(KeyError, match="broken"):
        run.until_done()
    assert len(app_server.runs) == 1


@BOTH
def test_an_answer_without_the_status_success_is_an_end(
    app_server: AppDouble, client: AppBuilderClient, stream: bool
) -> None:
    """The recorded ones have none; the SDK would ask again, for ever."""
    answers = WIRE["responses"]
    events = answers["app.run.streaming (SSE data lines)"] if stream else [answers["app.run.blocking"]]
    bodies = [json.dumps(event) for event in events]
    app_server.reply(
        Reply(raw="".join(f"data: {body}\n\n" for body in bodies).encode() if stream else bodies[0].encode())
    )
    handler = ToolCallEventHandler([])
    client.run_with_handler("conv-1", "你好", stream=stream, event_handler=handler).until_done()
    assert handler.result == "你好"
    assert len(app_server.runs) == 1


def test_a_status_nobody_knows_is_passed_over(
    app_server: AppDouble, client: AppBuilderClient, conversation: str
) -> None:
    app_server.reply(AppReply(events=[{"event_status": "init_x"}, {"event_status": "__init__"}]))
    handler = Answering()
    client.run_with_handler(conversation, "q", stream=True, event_handler=handler).until_done()
    assert handler.statuses[1:3] == ["init_x", "__init__"]
    assert handler.statuses[-1] == "success"


def test_a_workflow_that_asks_with_the_status_interrupt_waits_for_no_tool(
    app_server: AppDouble, client: AppBuilderClient, conversation: str
) -> None:
    asked = {"event_type": "chatflow", "content_type": "chatflow_interrupt", "event_status": "interrupt"}
    app_server.reply(AppReply(events=[asked | {"outputs": {"interrupt_event_id": "i"}}]))
    client.run_with_handler(conversation, "q", stream=True, event_handler=Answering()).until_done()
    assert len(app_server.runs) == 1


def test_further_arguments_reach_every_run_but_a_forced_tool_only_the_first(
    app_server: AppDouble, client: AppBuilderClient, conversation: str
) -> None:
    app_server.reply(ADD)
    client.run_with_handler(
        conversation, "q", event_handler=ToolCallEventHandler([add]), end_user_id="user-1",
        tool_choice={"type": "auto"}, something_of_the_sdks=1,
    ).until_done()  # fmt: skip
    first, second = (run.body for run in app_server.runs)
    assert (first["end_user_id"], second["end_user_id"]) == ("user-1", "user-1")
    assert (first["tool_choice"], second["tool_choice"]) == ({"type": "auto", "function": None}, None)


@BOTH
def test_the_next_dialogue_of_a_handler(
    app_server: AppDouble, client: AppBuilderClient, conversation: str, stream: bool
) -> None:
    app_server.reply(ADD)
    handler = ToolCallEventHandler([add])
    client.run_with_handler(
        conversation, "eins", tools=[], stream=stream, event_handler=handler
    ).until_done()
    assert handler.result == "3"
    handler.new_dialog(query="zwei")
    assert handler.result == ""
    handler.until_done()
    assert handler.result == "zwei"
    handler.reset_state()
    assert (handler.result, list(handler)) == ("", [])
    with pytest.raises(ValueError, match="init"):
        handler.new_dialog(query="drei")
    assert [run.body["stream"] for run in app_server.runs] == [stream] * 3


def test_a_dialogue_without_a_question_of_its_own_asks_the_last_again(
    app_server: AppDouble, client: AppBuilderClient, conversation: str
) -> None:
    handler = ToolCallEventHandler([])
    client.run_with_handler(conversation, "eins", event_handler=handler).until_done()
    handler.new_dialog()
    handler.until_done()
    assert [run.body["query"] for run in app_server.runs] == ["eins", "eins"]


@pytest.mark.parametrize(
    ("said", "output"), [({"a": "ä"}, '{"a":"ä"}'), (None, ""), (1.5, "1.5"), ("x", "x")]
)
def test_what_a_function_returns_goes_back_as_text(
    app_server: AppDouble, client: AppBuilderClient, conversation: str, said: Any, output: str
) -> None:
    def add(a: int, b: int) -> Any:
        return said

    app_server.reply(ADD)
    client.run_with_handler(
        conversation, "q", event_handler=ToolCallEventHandler([add])
    ).until_done()
    assert app_server.runs[1].body["tool_outputs"][0]["output"] == output


def test_text_that_comes_without_an_event_is_in_the_result(
    app_server: AppDouble, client: AppBuilderClient
) -> None:
    pieces = [{"answer": "a"}, {"answer": "b", "content": [{"event_status": "done"}], "is_completion": True}]
    app_server.reply(Reply(raw="".join(f"data: {json.dumps(one)}\n\n" for one in pieces).encode()))
    handler = ToolCallEventHandler([])
    run = client.run_with_handler("conv-1", "q", stream=True, event_handler=handler)
    assert [one.answer for one in run] == ["b"]
    assert handler.result == "ab"


@pytest.mark.parametrize(
    ("thought", "first", "told"), [("call", "first", "call"), ("", "first", "first"), ("", "", "")]
)
def test_why_a_function_is_called(
    app_server: AppDouble, client: AppBuilderClient, conversation: str, thought: str, first: str, told: str
) -> None:
    class Thinking(Answering):
        def __init__(self, outputs: Any) -> None:
            super().__init__(outputs)
            self.thoughts: list[str] = []

        def handle_event_type(self, run_context: Any, run_response: Any) -> None:
            self.thoughts.append(run_context.current_thought)

    handler = Thinking([{"tool_call_id": "call-1", "output": ""}])
    calls = AppReply(tool_calls=[("f", {})], thought=thought, events=[{"outputs": {"text": first}}])
    app_server.reply(calls, AppReply(events=[{"outputs": {"text": "later"}}]))
    client.run_with_handler(conversation, "q", event_handler=handler).until_done()
    assert handler.thoughts == [told, "later"]
    app_server.reply(AppReply(["x"]))
    client.run_with_handler(conversation, "q", stream=True, event_handler=handler).until_done()
    assert handler.thoughts[3] == ""  # a piece of text is no thought


def test_leaving_the_with_statement_breaks_the_answer_off(
    app_server: AppDouble, client: AppBuilderClient, conversation: str
) -> None:
    app_server.reply(AppReply(["一", "二"], silent_after=2))
    with client.run_with_handler(conversation, "q", stream=True, event_handler=Answering()) as run:
        next(run)
        next(run)
    app_server.wait_for_left()


def test_nothing_is_sent_before_it_is_iterated(
    app_server: AppDouble, client: AppBuilderClient, conversation: str
) -> None:
    with client.run_with_handler(conversation, "q", event_handler=Answering()):
        pass
    assert app_server.runs == []


def test_what_is_missing(client: AppBuilderClient) -> None:
    with pytest.raises(ValueError, match="event_handler"):
        client.run_with_handler("conv-1", "q")
    with pytest.raises(ValueError, match="event_handler"):
        next(client.run_multiple_dialog_with_handler("conv-1", ["q"]))
    with pytest.raises(ValueError, match="queries"):
        next(client.run_multiple_dialog_with_handler("conv-1", event_handler=Answering()))


def test_several_dialogues(app_server: AppDouble, client: AppBuilderClient, conversation: str) -> None:
    file = client.upload_file(conversation, file_url="https://host/a")
    handler = Answering()
    seen = [
        list(one) if one is handler else one
        for one in client.run_multiple_dialog_with_handler(
            conversation, queries=iter(["a", "b", "c"]), file_ids=[[file]], event_handler=handler
        )
    ]
    assert [one.content.answer if isinstance(one, Message) else one[0].content.answer for one in seen] == [
        "a", "b", "c",
    ]  # fmt: skip
    assert [run.body["file_ids"] for run in app_server.runs] == [[file], None, None]
    with pytest.raises(ValueError, match="init"):
        handler.new_dialog(query="d")
