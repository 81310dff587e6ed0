"""An application behind a runtime: its conversation, its questions, its members, its events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.models.server_fixtures import TOKEN, app_server, quick  # noqa: F401
from tests.process.serving import rows
from tests.unit.engines import CountingStore, ask
from tests.unit.logs import pieces_in, steps_in

from appbuilder import AppBuilderClient, FlaskRuntime, Message, UserSession
from appbuilder.components.app_client.schemas import Action, Tool, ToolChoice
from appbuilder.components.app_client.session_app import KEY, SessionApp
from appbuilder.core.attachment import Attachment
from appbuilder.core.context import get_context, init_context
from appbuilder.core.store import TurnRecord
from appbuilder.engine.engine import Engine
from appbuilder.errors import AppBuilderError, InvalidRequest, ModelRejected, ModelUnavailable, TurnCancelled
from appbuilder.settings import Settings
from appbuilder.testing import AppDouble, AppReply

FAST = Settings(retry_backoff=0.0, session_wait=10.0)
CHOICE: dict[str, Any] = {"type": "function", "function": {"name": "search", "input": {}}}
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object"}}
BOTH_WAYS = pytest.mark.parametrize("stream", [False, True])


class Behind:
    """An application behind an engine on the memory store."""

    def __init__(self, client: AppBuilderClient, tool_choice: Any = None) -> None:
        self.store = CountingStore()
        self.engine = Engine(SessionApp(client, tool_choice), self.store, FAST)

    def turn(self, message: Any = "hi", **members: Any) -> Any:
        """The answer's members; raises the turn's error."""
        run = self.engine.start(ask(message=message, **members))
        outcome = run.log.wait_outcome()
        if outcome.answer is None:
            assert outcome.error is not None
            raise outcome.error
        return {**outcome.answer, "pieces": pieces_in(run.log)}

    def kept(self, session: str = "s") -> Any:
        """What is remembered of the session's application."""
        found = self.store.history(session, KEY, 1)
        return found[-1]["content"] if found else None


@pytest.fixture
def behind(app_server: AppDouble) -> Behind:  # noqa: F811
    return Behind(AppBuilderClient("app-1"))


@pytest.fixture
def double(app_server: AppDouble) -> AppDouble:  # noqa: F811
    return app_server


class Http:
    """An application behind FlaskRuntime, asked through Flask's test client."""

    def __init__(self, database: str, **options: Any) -> None:
        self.database = database
        self.runtime = FlaskRuntime(AppBuilderClient("app-1", **options), database)
        self._client = self.runtime.create_flask_app().test_client()

    def post(self, message: Any = "hi", headers: Any = None, **members: Any) -> Any:
        """Status, and the body's JSON or the events of a stream."""
        response = self._client.post("/chat", json={"message": message, **members}, headers=headers)
        if response.mimetype == "application/json":
            return response.status_code, response.json
        events = [line[6:] for line in response.text.split("\n\n") if line.startswith("data: ")]
        return response.status_code, [json.loads(event) for event in events]

    def answer(self, message: Any = "hi", **members: Any) -> Any:
        """The answer's message, of a stream with its text joined."""
        status, said = self.post(message, **members)
        assert status == 200, said
        if isinstance(said, dict):
            return said["result"]["answer_message"]
        assert [each["result"]["is_completion"] for each in said] == [*[False] * (len(said) - 1), True]
        each = [event["result"]["answer_message"] for event in said]
        return {**each[-1], "content": "".join(one["content"] for one in each)}


@pytest.fixture
def http(app_server: AppDouble, tmp_path: Path) -> Http:  # noqa: F811
    return Http(f"sqlite:///{tmp_path}/a.db")


def queries(double: AppDouble) -> dict[str, list[str]]:
    return {id: one.queries for id, one in double.conversations.items()}


# The conversation


@BOTH_WAYS
def test_a_session_has_one_conversation_and_another_session_another(
    behind: Behind, double: AppDouble, stream: bool
) -> None:
    for session, words in (("a", "1"), ("b", "2"), ("a", "3"), ("b", "4")):
        assert behind.turn(words, session_id=session, stream=stream)["content"] == words
    assert queries(double) == {"conv-1": ["1", "3"], "conv-2": ["2", "4"]}
    assert behind.kept("a") == {"app_id": "app-1", "conversation_id": "conv-1"}


@BOTH_WAYS
def test_the_conversation_is_a_row_of_the_turn_and_found_by_the_next_process(
    http: Http, double: AppDouble, stream: bool
) -> None:
    headers = {"X-Appbuilder-Request-Id": "first"}
    http.post("one", session_id="s", stream=stream, headers=headers)
    http.answer("two", session_id="s", stream=stream)
    again = Http(http.database)
    again.answer("three", session_id="s", stream=stream)
    assert queries(double) == {"conv-1": ["one", "two", "three"]}
    [row] = rows(http.database)
    assert (row["message_key"], row["session_id"], row["request_id"]) == (KEY, "s", "first")
    assert row["message_value"]["content"] == {"app_id": "app-1", "conversation_id": "conv-1"}


@BOTH_WAYS
@pytest.mark.parametrize("place", ["conversation", "run"])
def test_a_first_turn_that_fails_leaves_no_conversation(
    behind: Behind, double: AppDouble, stream: bool, place: str
) -> None:
    double.reply(AppReply(status=500), to=place)
    with pytest.raises(ModelUnavailable):
        behind.turn("lost", stream=stream)
    assert behind.store.turns == []
    behind.turn("found", stream=stream)
    assert queries(double)[behind.kept()["conversation_id"]] == ["found"]


def test_where_the_turn_is_not_stored_there_is_no_conversation(behind: Behind, double: AppDouble) -> None:
    behind.store.fail = True
    with pytest.raises(AppBuilderError):
        behind.turn("lost")
    behind.store.fail = False
    behind.turn("found")
    assert queries(double) == {"conv-1": ["lost"], "conv-2": ["found"]}


@pytest.mark.parametrize("silent_after", [1, 2])  # after the status; after a piece of text
def test_a_turn_that_was_cut_keeps_the_conversation(
    behind: Behind, double: AppDouble, silent_after: int
) -> None:
    double.reply(AppReply(pieces=["half", "whole"], silent_after=silent_after))
    run = behind.engine.start(ask(stream=True))
    double.wait_for_requests(2)
    if silent_after == 2:
        assert run.log.wait(0, 10)
    run.cancel(TurnCancelled("left"))
    run.log.wait_outcome()
    double.wait_for_left()
    assert behind.kept() == {"app_id": "app-1", "conversation_id": "conv-1"}
    behind.turn("on")
    assert queries(double) == {"conv-1": ["hi", "on"]}


def test_another_application_begins_another_conversation(behind: Behind, double: AppDouble) -> None:
    double.apps["app-2"] = {"id": "app-2"}
    behind.turn("1")
    other = Behind(AppBuilderClient("app-2"))
    other.store = behind.store
    other.engine = Engine(SessionApp(AppBuilderClient("app-2")), behind.store, FAST)
    other.turn("2")
    assert [one.app_id for one in double.conversations.values()] == ["app-1", "app-2"]
    assert behind.kept() == {"app_id": "app-2", "conversation_id": "conv-2"}


@pytest.mark.parametrize(
    ("stream", "reply"),
    [
        (True, AppReply(cut_after=1)),  # the first message of a stream is a status without text
        (True, AppReply(error_after=1)),
        (True, AppReply(unfinished=True, pieces=[])),
        (False, AppReply(cut_after=0)),
        (False, AppReply(status=503)),
    ],
)
def test_a_run_is_sent_once_also_where_it_breaks_before_the_first_text(
    behind: Behind, double: AppDouble, stream: bool, reply: AppReply
) -> None:
    double.reply(reply, reply)
    with pytest.raises(ModelUnavailable):
        behind.turn(stream=stream)
    assert len(double.runs) == len(double.conversations) == 1


# A workflow's question


@BOTH_WAYS
def test_the_next_message_answers_a_workflows_question_once(
    http: Http, double: AppDouble, stream: bool
) -> None:
    double.reply(AppReply(pieces=["好。"], asks="哪座城市？"))
    asked = http.answer("天气", session_id="s", stream=stream)
    assert asked["content"] == "好。哪座城市？"
    assert asked["extra"]["interrupt_event_id"] == "question-1"
    assert rows(http.database)[-1]["message_value"]["content"]["question"] == "question-1"
    http.answer("别的", session_id="other", stream=stream)
    for words in ("北京", "谢谢"):
        said = http.answer(words, session_id="s", stream=stream)
        assert "interrupt_event_id" not in said["extra"]
    resume = Action.create_resume_action("question-1")
    assert [run.body["action"] for run in double.runs] == [None, None, resume, None]
    assert "question" not in rows(http.database)[-1]["message_value"]["content"]


@BOTH_WAYS
def test_a_question_may_follow_a_question(behind: Behind, double: AppDouble, stream: bool) -> None:
    double.reply(AppReply(asks="谁？"), AppReply(asks="何时？"))
    for words in ("订票", "我", "明天"):
        behind.turn(words, stream=stream)
    resumes = [Action.create_resume_action(f"question-{number}") for number in (1, 2)]
    assert [run.body["action"] for run in double.runs] == [None, *resumes]
    assert "question" not in behind.kept()


@BOTH_WAYS
def test_an_action_of_the_request_goes_first(behind: Behind, double: AppDouble, stream: bool) -> None:
    double.reply(AppReply(asks="谁？"))
    behind.turn(stream=stream)
    own = {**Action.create_resume_action("question-1"), "more": 1}
    behind.turn("我", stream=stream, args={"action": own})
    assert double.runs[-1].body["action"] == own
    assert "question" not in behind.kept()


@BOTH_WAYS
@pytest.mark.parametrize("reply", [AppReply(status=503), AppReply(status=429)])
def test_a_turn_that_failed_leaves_the_question_waiting(
    behind: Behind, double: AppDouble, stream: bool, reply: AppReply
) -> None:
    double.reply(AppReply(asks="谁？"), reply)
    behind.turn(stream=stream)
    with pytest.raises(AppBuilderError):
        behind.turn("我", stream=stream)
    assert behind.turn("我", stream=stream)["content"] == "我"
    assert double.runs[-1].body["action"] == Action.create_resume_action("question-1")
    assert len(double.runs) == 3


def test_an_answer_nobody_waits_for_any_more_is_asked_as_any_message(
    behind: Behind, double: AppDouble
) -> None:
    """The service had the answer and the stream broke: the session must not be stuck with its question."""
    double.reply(AppReply(asks="谁？"), AppReply(pieces=["好", "的"], cut_after=2))
    behind.turn()
    with pytest.raises(ModelUnavailable):
        behind.turn("我", stream=True)
    assert behind.kept()["question"] == "question-1"
    assert behind.turn("还在吗", stream=True)["content"] == "还在吗"
    assert [bool(run.body["action"]) for run in double.runs] == [False, True, True, False]
    assert "question" not in behind.kept()
    assert len(double.conversations) == 1


def test_a_refusal_of_the_message_itself_is_told(behind: Behind, double: AppDouble) -> None:
    double.reply(AppReply(asks="谁？"), AppReply(status=400), AppReply(status=400, error=("Bad", "words")))
    behind.turn()
    with pytest.raises(ModelRejected) as raised:
        behind.turn("我")
    assert raised.value.code == "Bad"
    assert behind.kept()["question"] == "question-1"


@pytest.mark.parametrize(("silent_after", "waits"), [(0, True), (1, False), (2, False)])
def test_a_question_waits_where_the_turn_was_cut_before_the_service_went_on(
    behind: Behind, double: AppDouble, silent_after: int, waits: bool
) -> None:
    double.reply(AppReply(asks="谁？"), AppReply(pieces=["a", "b"], silent_after=silent_after))
    behind.turn()
    run = behind.engine.start(ask(message="我", stream=True, watch=True))
    double.wait_for_requests(3)
    if silent_after:  # its first event is seen as a step, or its first text
        while not run.log.entries:
            run.log.wait(0, 10)
    run.cancel(TurnCancelled("left"))
    run.log.wait_outcome()
    assert ("question" in behind.kept()) is waits


# What goes to run


def test_the_tool_choice_of_the_runtime_and_of_the_request(double: AppDouble, tmp_path: Path) -> None:
    choice = ToolChoice.model_validate(CHOICE)
    runtime = FlaskRuntime(AppBuilderClient("app-1"), f"sqlite:///{tmp_path}/a.db", tool_choice=choice)
    client = runtime.create_flask_app().test_client()
    other = {"type": "auto", "function": None}
    assert client.post("/chat", json={"message": "a"}).status_code == 200
    assert client.post("/chat", json={"message": "b", "tool_choice": other}).status_code == 200
    assert [run.body["tool_choice"] for run in double.runs] == [CHOICE, other]


def test_who_asks(http: Http, double: AppDouble) -> None:
    http.post()
    http.post(headers={"X-Appbuilder-User-Id": "小红".encode().decode("latin-1")})
    http.post(headers={"X-Appbuilder-User-Id": "u"}, end_user_id="someone")
    assert [run.body["end_user_id"] for run in double.runs] == [None, "小红", "someone"]


@BOTH_WAYS
def test_members_of_the_body_go_to_the_run(http: Http, double: AppDouble, stream: bool) -> None:
    http.answer(session_id="s")
    file_id = AppBuilderClient("app-1").upload_file("conv-1", file_url="http://127.0.0.1/a.txt")
    members: dict[str, Any] = {
        "file_ids": [file_id],
        "tools": [Tool(function=FUNCTION).model_dump()],  # type: ignore[arg-type]
        "tool_choice": CHOICE,
        "end_user_id": "u",
        "mcp_authorization": [{"server": "s", "key": "k"}],
        "parameters": {"city": "北京"},
        "custom_metadata": {"override_role_instruction": "你是诗人"},
    }
    http.answer("all", session_id="s", stream=stream, **members)
    sent = double.runs[-1].body
    assert {name: sent[name] for name in members} == members


@BOTH_WAYS
def test_a_call_of_the_callers_function_is_told_and_its_output_taken(
    http: Http, double: AppDouble, stream: bool
) -> None:
    double.reply(AppReply(tool_calls=[("f", {"n": 1})]))
    asked = http.answer("算", session_id="s", stream=stream, tools=[{"function": FUNCTION}])
    [call] = asked["extra"]["events"][-1]["tool_calls"]
    assert call["function"] == {"name": "f", "arguments": {"n": 1}}
    outputs = [{"tool_call_id": call["id"], "output": "二"}]
    assert http.answer("", session_id="s", stream=stream, tool_outputs=outputs)["content"] == "二"
    assert double.runs[-1].body["tool_outputs"] == outputs
    assert http.post("", session_id="s", stream=stream)[0] == 400


@pytest.mark.parametrize(
    "name",
    ["attachments", "files", "file", "local_file_path", "path", "conversation_id", "app_id", "query",
     "timeout", "client", "memory", "context"],
)
def test_other_members_are_400_and_no_path_of_this_machine_is_read(
    http: Http, double: AppDouble, tmp_path: Path, name: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for value in (str(secret), [str(secret)], [{"path": str(secret), "name": "a", "mime": "text/plain"}]):
        status, body = http.post(**{name: value})
        assert (status, body["result"]) == (400, None)
    assert double.requests == []


@pytest.mark.parametrize("message", [None, 5, True, ["hi"], {"content": "hi"}])
def test_a_message_that_is_no_text_is_400(http: Http, double: AppDouble, message: Any) -> None:
    status, body = http.post(message)
    assert (status, body["code"]) == (400, 400)
    assert double.requests == []


@pytest.mark.parametrize(
    "members",
    [{"tools": "f"}, {"tools": [5]}, {"action": {"action_type": "resume"}}, {"parameters": []},
     {"tool_choice": 5}, {"custom_metadata": {}}, {"tool_outputs": [{}]}, {"file_ids": "x"}, {"file_ids": 5}],
)
def test_a_member_of_a_wrong_form_is_400(http: Http, double: AppDouble, members: dict[str, Any]) -> None:
    assert http.post(**members)[0] == 400
    assert double.runs == []


def test_attachments_of_the_turn_are_uploaded_to_its_conversation(
    behind: Behind, double: AppDouble, tmp_path: Path
) -> None:
    path = tmp_path / "b1946ac9"
    path.write_bytes(b"\0bytes")
    behind.turn("前", session_id="other")
    behind.turn("看", attachments=[Attachment(path, "报告.pdf", "application/pdf")])
    [(file_id, file)] = double.conversations["conv-2"].files.items()
    assert (file.name, file.kind, file.data) == ("报告.pdf", "application/pdf", b"\0bytes")  # type: ignore[union-attr]
    assert double.runs[-1].body["file_ids"] == [file_id]
    assert double.conversations["conv-1"].files == {}


# Credentials


def test_each_request_brings_its_own_token(
    double: AppDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = Http(f"sqlite:///{tmp_path}/a.db", lazy_certification=True)
    assert http.post()[0] == 401
    assert double.requests == []
    for token in ("one", "two", "one"):
        assert http.post(session_id=token, headers={"X-Appbuilder-Token": token})[0] == 200
    sent = [request.headers["authorization"] for request in double.requests]
    assert sent == ["Bearer one"] * 2 + ["Bearer two"] * 2 + ["Bearer one"]
    double.reply(AppReply(status=401, error=("InvalidToken", "no")))
    assert http.post(session_id="one", headers={"X-Appbuilder-Token": "three"})[0] == 401


def test_the_programs_token_is_not_the_callers(http: Http, double: AppDouble) -> None:
    http.post(headers={"X-Appbuilder-Token": "mine"})
    assert {request.headers["authorization"] for request in double.requests} == {f"Bearer {TOKEN}"}


# Events and usage


@BOTH_WAYS
def test_events_and_usage_stand_beside_the_answer(http: Http, double: AppDouble, stream: bool) -> None:
    found = {"event_type": "rag", "event_status": "done", "content_type": "rag",
             "outputs": {"text": "三处", "references": []},
             "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "name": "m"}}
    used = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
    double.reply(AppReply(pieces=["四百", "平方"], events=[found], usage=used, published=["（完）"]))
    said = http.answer(stream=stream)
    assert said["content"] == "四百平方（完）"
    assert said["token_usage"] == {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33}
    extra = said["extra"]
    assert (extra["conversation_id"], extra["message_id"]) == ("conv-1", "m-1")
    [rag] = [event for event in extra["events"] if event["event_type"] == "rag"]
    assert rag["detail"] == found["outputs"]
    assert (said["mtype"], said["name"]) == ("str", "msg")


def test_the_pieces_are_those_of_the_service(behind: Behind, double: AppDouble) -> None:
    double.reply(AppReply(pieces=["一", "", "二"], published=["三"]))
    assert behind.turn(stream=True)["pieces"] == ["一", "二", "三"]


def test_an_answer_without_text(behind: Behind, double: AppDouble) -> None:
    for stream in (False, True):
        double.reply(AppReply(pieces=[]))
        said = behind.turn(stream=stream)
        assert (said["content"], said["extra"]["conversation_id"]) == ("", "conv-1")


def test_a_break_after_some_text_is_an_error_with_the_text_before_it(http: Http, double: AppDouble) -> None:
    double.reply(AppReply(pieces=["一", "二"], cut_after=2))
    status, events = http.post(stream=True)
    assert status == 200
    assert [event["code"] for event in events] == [0, 502]
    assert len(double.runs) == 1
    assert rows(http.database) == []


# Without a runtime around it


def test_a_local_session_remembers(double: AppDouble, tmp_path: Path) -> None:
    runtime = FlaskRuntime(AppBuilderClient("app-1"), f"sqlite:///{tmp_path}/a.db")
    double.reply(AppReply(asks="谁？"))
    assert runtime.chat(Message("一")).content == "谁？"
    answer = runtime.chat(Message("我"), stream=True)
    assert "".join(answer.content) == answer.content == "我"
    assert runtime.chat(Message("三")).content == "三"
    assert queries(double) == {"conv-1": ["一", "我", "三"]}
    assert [bool(run.body["action"]) for run in double.runs] == [False, True, False]
    assert get_context().is_local
    assert list(tmp_path.iterdir()) == []


def test_a_session_driven_by_hand_is_remembered_in_its_database(double: AppDouble, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/a.db"
    for words in ("一", "二"):
        runtime = FlaskRuntime(AppBuilderClient("app-1"), database)
        init_context(session_id="by-hand", request_id=words)
        runtime.chat(Message(words))
        runtime.user_session._post_append()
    assert queries(double) == {"conv-1": ["一", "二"]}
    assert len(rows(database)) == 1


def test_a_program_may_not_write_where_the_conversation_is_remembered() -> None:
    with pytest.raises(ValueError, match="own"):
        UserSession().append({KEY: Message({"conversation_id": "another's"})})


@pytest.mark.parametrize(
    "content", [None, "x", [], {}, {"app_id": "app-1"}, {"app_id": "app-1", "conversation_id": ""}]
)
def test_an_odd_row_is_no_memory(behind: Behind, double: AppDouble, content: Any) -> None:
    behind.store.commit(TurnRecord("s", "r", [(KEY, {"content": content})]))
    assert behind.turn("hi")["content"] == "hi"
    assert behind.kept()["conversation_id"] == "conv-1"


# Events as steps


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault", [{}, {"cut_after": 4}, {"error_after": 3}, {"error_after": 2}, {"unfinished": True}]
)
def test_no_step_goes_on_after_the_turn(
    behind: Behind, double: AppDouble, stream: bool, fault: dict[str, Any]
) -> None:
    event = {"event_type": "code", "event_status": "running", "outputs": {"text": "1+1"}}
    double.reply(AppReply(events=[event], pieces=["a", "b", "c"], **fault))
    run = behind.engine.start(ask(stream=stream, watch=True))
    outcome = run.log.wait_outcome()
    last = {step["name"]: step for step in steps_in(run.log)}
    assert all(step["ended"] for step in last.values())
    if outcome.answer is not None or stream:
        assert last["code"]["detail"] == {"text": "1+1"}


def test_where_nobody_watches_no_step_is_told(behind: Behind, double: AppDouble) -> None:
    run = behind.engine.start(ask(stream=True))
    run.log.wait_outcome()
    assert steps_in(run.log) == []


def test_an_odd_message_never_reaches_the_service() -> None:
    served = SessionApp(AppBuilderClient("app-1"))
    with pytest.raises(InvalidRequest):
        served.run(Message(5))
