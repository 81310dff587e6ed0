"""``history`` and ``messages`` of a function are filled from the session, on every protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Optional, TypedDict

import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient
from tests.memory_store import MemoryStore
from tests.unit.engines import ask

from appbuilder import FlaskRuntime, Message
from appbuilder.adapters import session_history
from appbuilder.adapters.function import as_component
from appbuilder.core.context import context_var, init_context
from appbuilder.engine.engine import Engine
from appbuilder.engine.persistence import RetentionPolicy
from appbuilder.errors import ConfigurationError, InvalidRequest
from appbuilder.ids import new_row_id
from appbuilder.runtime.service_runtime import ServiceRuntime
from appbuilder.settings import Settings

Dicts = list[dict[str, Any]]


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


class Seen:
    """Functions of each kind that note what they get, and answer with the message in brackets."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def whole(self, message: str, history: Dicts) -> str:
        self.got.append(history)
        return f"<{message}>"

    def pieces(self, message: str, history: Any) -> Iterator[str]:
        self.got.append(history)
        yield from ("<", message, ">")

    async def whole_async(self, message: str, history: Optional[list[dict[str, str]]] = None) -> str:  # noqa: UP045
        self.got.append(history)
        return f"<{message}>"

    async def pieces_async(self, message: str, *, history: list) -> AsyncIterator[str]:  # type: ignore[type-arg]
        self.got.append(history)
        for piece in ("<", message, ">"):
            yield piece


KINDS = ["whole", "pieces", "whole_async", "pieces_async"]


class Talk:
    """Turns of one session through the engine."""

    def __init__(self, function: Any, *, keeps: bool | None = True) -> None:
        self.engine = Engine(as_component(function), MemoryStore(), Settings(retry_backoff=0.0))
        self.keeps = keeps

    def say(self, message: Any, **members: Any) -> Any:
        keep = (
            None
            if self.keeps is None
            else RetentionPolicy(new_row_id(), "local", lambda error: {}, self.keeps)
        )
        outcome = self.engine.start(ask(message=message, keep=keep, **members)).log.wait_outcome()
        if outcome.error is not None:
            raise outcome.error
        assert outcome.answer is not None
        return outcome.answer["content"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("keeps", [True, None])
@pytest.mark.parametrize("kind", KINDS)
def test_history_is_what_was_said_before(kind: str, keeps: bool | None, stream: bool) -> None:
    seen = Seen()
    talk = Talk(getattr(seen, kind), keeps=keeps)
    assert [talk.say(text, stream=stream) for text in ("a", "b", "c")] == ["<a>", "<b>", "<c>"]
    first, second = [user("a"), assistant("<a>")], [user("b"), assistant("<b>")]
    assert seen.got == [[], first, first + second]


@pytest.mark.parametrize("kind", KINDS)
def test_called_by_hand_it_is_remembered_in_memory(kind: str) -> None:
    seen = Seen()
    runtime = FlaskRuntime(as_component(getattr(seen, kind)), "sqlite://")
    context = context_var.set(init_context("LOCAL-history", "r"))
    try:
        for text in ("a", "b"):
            answer = runtime.chat(Message(text), stream=True)
            assert "".join(answer.content) == f"<{text}>"
    finally:
        context_var.reset(context)
    assert seen.got == [[], [user("a"), assistant("<a>")]]


def test_without_history_kept_there_is_what_the_client_sends() -> None:
    seen = Seen()
    talk = Talk(seen.whole, keeps=False)
    talk.say("a")
    talk.say("b")
    talk.say("c", args={"messages": [user("x"), assistant("y"), user("c")]})
    assert seen.got == [[], [], [user("x"), assistant("y")]]


@pytest.mark.parametrize("keeps", [True, None])
def test_long_answers_stay_with_their_questions(keeps: bool | None) -> None:
    got: list[Any] = []

    def function(message: str, history: Dicts) -> str:
        turns = zip(history[::2], history[1::2], strict=True)
        got.append([(asked["content"], said["content"][:2]) for asked, said in turns])
        return message * 70_000

    talk = Talk(function, keeps=keeps)
    for number in range(12):
        talk.say(f"{number:02}")
    assert got[-1] == [(f"{number:02}", f"{number:02}") for number in range(4, 11)]


def test_messages_are_the_whole_conversation() -> None:
    got: list[Any] = []

    def alone(messages: list[dict[str, Any]]) -> str:
        got.append(messages)
        return f"<{messages[-1]['content']}>"

    def beside(message: str, messages: Any = (), history: Any = ()) -> str:
        got.append((messages, history))
        return f"<{message}>"

    system = {"role": "system", "content": "be brief"}
    for function in (alone, beside):
        got.clear()
        talk = Talk(function)
        talk.say("a")
        talk.say("b", args={"messages": [system, user("b")]})
        resent = [system, user("x"), assistant("y"), user("c")]
        talk.say("c", args={"messages": resent})
        before = [user("a"), assistant("<a>")]
        expected = [[user("a")], [system, *before, user("b")], resent]
        earlier = [[], before, [user("x"), assistant("y")]]
        assert got == (expected if function is alone else list(zip(expected, earlier, strict=True)))


SYSTEM = {"role": "system", "content": "be brief"}
CALL: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": []}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "42"}
BEFORE = [user("a"), assistant("42")]


@pytest.mark.parametrize(
    ("sent", "history", "messages"),
    [
        ([RESULT], BEFORE, [*BEFORE, RESULT]),
        ([SYSTEM, CALL, RESULT], BEFORE, [SYSTEM, *BEFORE, CALL, RESULT]),
        ([SYSTEM, user("b"), CALL, RESULT], BEFORE, [SYSTEM, *BEFORE, user("b"), CALL, RESULT]),
        ([CALL, RESULT, user("b")], BEFORE, [*BEFORE, CALL, RESULT, user("b")]),
        ([user("b"), assistant("begun")], [], [user("b"), assistant("begun")]),
        (
            [user("x"), CALL, RESULT, assistant("y"), user("b")],
            [user("x"), assistant("y")],
            [user("x"), CALL, RESULT, assistant("y"), user("b")],
        ),
    ],
    ids=repr,
)
def test_calls_of_tools_stay_where_they_are(sent: Any, history: Any, messages: Any) -> None:
    got: list[Any] = []

    def answer(message: str, history: Any, messages: Any) -> str:
        got.append((history, messages))
        return "42"

    talk = Talk(answer)
    talk.say("a")
    talk.say("b", args={"messages": sent})
    assert got[1] == (history, messages)


def test_a_client_may_send_its_own_history() -> None:
    seen = Seen()
    talk = Talk(seen.whole)
    talk.say("a")
    own = [user("other"), assistant("words")]
    talk.say("b", args={"history": own})
    talk.say("c", args={"history": []})
    assert seen.got == [[], own, []]
    for wrong in ("text", {"role": "user"}, [1], [{"role": "king", "content": "x"}], [{"role": "user"}]):
        with pytest.raises(InvalidRequest, match="must be an array of messages"):
            talk.say("d", args={"history": wrong})


def test_only_finished_turns_are_history() -> None:
    seen = Seen()

    def function(message: str, history: Dicts) -> str:
        if message == "fail":
            raise ValueError("x")
        return seen.whole(message, history)

    talk = Talk(function)
    talk.say("a")
    with pytest.raises(Exception, match="failed"):
        talk.say("fail")
    talk.say("b")
    assert seen.got == [[], [user("a"), assistant("<a>")]]


def test_an_object_with_a_fitting_run_gets_it_too() -> None:
    got: list[Any] = []

    class Agent:
        def run(self, message: Any, stream: bool = False, history: Any = None) -> str:
            got.append((type(message), stream, history))
            return f"<{message.content}>"

    talk = Talk(Agent)
    assert [talk.say(text, stream=True) for text in ("a", "b")] == ["<a>", "<b>"]
    assert got == [(Message, True, []), (Message, True, [user("a"), assistant("<a>")])]


def test_pictures_stay_parts_and_other_json_is_text() -> None:
    seen = Seen()
    talk = Talk(lambda message, history: seen.whole("", history))
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]
    talk.say(parts)
    talk.say({"query": 1})
    talk.say("c")
    assert seen.got[-1] == [user(parts), assistant("<>"), user('{"query":1}'), assistant("<>")]


def test_pairs_where_the_function_is_annotated_so() -> None:
    got: list[Any] = []

    def function(message: str, history: list[tuple[str, str]]) -> str:
        got.append(history)
        return message.upper()

    talk = Talk(function)
    talk.say("a")
    talk.say("b")
    assert got == [[], [["a", "A"]]]


def test_the_newest_turns_up_to_a_bound() -> None:
    seen = Seen()
    talk = Talk(seen.whole)
    for number in range(session_history.TURNS + 3):
        talk.say(f"m{number}")
    assert len(seen.got[-1]) == 2 * session_history.TURNS
    assert seen.got[-1][-2:] == [
        user(f"m{session_history.TURNS + 1}"),
        assistant(f"<m{session_history.TURNS + 1}>"),
    ]
    talk.say("x" * session_history.CHARACTERS)
    talk.say("last")
    assert seen.got[-1] == []


class Question(BaseModel):
    text: str


@dataclass
class Asked:
    text: str


class Typed(TypedDict):
    text: str


def first(annotation: Any) -> Any:
    def answer(question: str) -> str:
        return question

    answer.__annotations__["question"] = annotation
    return answer


@pytest.mark.parametrize(
    "annotation",
    [list, dict, list[dict[str, Any]], dict[str, str], "list", "dict[str, str]", "list[Unknown]", Question,
     Asked, Typed, int, float, bool, bytes, list[str] | None, None],
)  # fmt: skip
def test_a_first_parameter_that_no_text_fits_is_refused(annotation: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"the first parameter gets the message.*messages: list"):
        as_component(first(annotation))


@pytest.mark.parametrize(
    "annotation",
    [str, "str", Any, object, Message, Message[str], "Message[str]", str | None, str | dict, "str | list",
     "Unknown", Annotated[str, "x"]],
)  # fmt: skip
def test_a_first_parameter_that_a_text_fits_is_accepted(annotation: Any) -> None:
    assert as_component(first(annotation)).name == "answer"


def test_history_that_cannot_be_filled_is_refused() -> None:
    def predict(history: list, message: str) -> str:  # type: ignore[type-arg]
        return message

    def typed(message: str, history: list[Question]) -> str:
        return message

    with pytest.raises(ConfigurationError, match="first parameter gets the message"):
        as_component(lambda history: "")
    with pytest.raises(ConfigurationError, match=r"no request can fill|first parameter"):
        as_component(predict)
    with pytest.raises(ConfigurationError, match=r"'history' gets dicts .* write history: list\[dict\]"):
        as_component(typed)


@pytest.mark.parametrize("annotation", [str, dict, tuple, set, Question, "str", "dict[str, str]"])
def test_a_required_history_of_another_type_is_refused(annotation: Any) -> None:
    for name in ("history", "messages"):
        functions: Any = {"history": lambda message, history: "", "messages": lambda message, messages: ""}
        function = functions[name]
        function.__annotations__ = {name: annotation}
        with pytest.raises(ConfigurationError, match=rf"{name!r} gets dicts .* write {name}: list\[dict\]"):
            as_component(function)


def test_a_history_that_is_no_list_is_a_member_like_any_other() -> None:
    def function(message: str, history: bool = False) -> str:
        return f"{message} {history}"

    talk = Talk(function)
    assert (talk.say("a"), talk.say("b", args={"history": True})) == ("a False", "b True")


def test_over_post_chat_and_the_openai_api(tmp_path: Path) -> None:
    seen = Seen()
    settings = Settings(page=False, database=f"sqlite:///{tmp_path}/chat.db")
    app = ServiceRuntime(seen.whole_async, settings=settings).create_asgi_app(host="127.0.0.1")
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 5000)) as client:
        client.post("/chat", json={"message": "a", "session_id": "s"})
        said = client.post("/chat", json={"message": "b", "session_id": "s", "stream": True}).text
        assert '"is_completion":true' in said
        body = {"model": "whole_async", "session_id": "s", "messages": [user("c")]}
        answer = client.post("/v1/chat/completions", json=body).json()
        assert answer["choices"][0]["message"]["content"] == "<c>"
        resent = [user("x"), assistant("y"), user("d")]
        client.post("/v1/chat/completions", json={"model": "whole_async", "messages": resent})
        response = client.post("/v1/responses", json={"model": "whole_async", "input": "e"}).json()
        client.post("/v1/responses", json={"model": "whole_async", "input": "f",
                                           "previous_response_id": response["id"]})  # fmt: skip
    a, b = [user("a"), assistant("<a>")], [user("b"), assistant("<b>")]
    assert seen.got == [[], a, a + b, [user("x"), assistant("y")], [], [user("e"), assistant("<e>")]]


def test_over_the_flask_runtime(tmp_path: Path) -> None:
    seen = Seen()
    url = f"sqlite:///{tmp_path}/chat.db"
    client = FlaskRuntime(as_component(seen.pieces), url).create_flask_app().test_client()
    for text in ("a", "b"):
        said = client.post("/chat", json={"message": text, "session_id": "s", "stream": text == "a"})
        assert said.status_code == 200
        said.get_data()
    assert seen.got == [[], [user("a"), assistant("<a>")]]
