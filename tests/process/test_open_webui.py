"""Open WebUI in front of a running service, by the shapes of its own requests (data/open_webui.json)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.process.openai_serving import CHAT, MODEL, RESPONSES, Talking, Told, talking
from tests.process.serving import rows

SHAPES = json.loads((Path(__file__).parents[1] / "unit" / "data" / "open_webui.json").read_text("utf-8"))
ANN = SHAPES["user_headers"]
BEN = {**ANN, "X-OpenWebUI-User-Id": "ben", "X-OpenWebUI-User-Email": "ben@example.com"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talking]:
    with talking(tmp_path_factory.mktemp("webui"), AUTH="hook", AUTH_HOOK="given:in_program") as running:
        yield running


class Chat:
    """One chat in Open WebUI, which keeps its history and sends it whole."""

    def __init__(
        self, service: Talking, chat_id: str, user: Mapping[str, str] = ANN, key: str = "root"
    ) -> None:
        self.service = service
        self.key = key
        self.headers = {**user, "X-OpenWebUI-Chat-Id": chat_id}
        self.messages: list[Any] = []
        self.session: str | None = None

    def say(self, shape: Mapping[str, Any]) -> Any:
        """Sends the last message of *shape* after what was said before; what the component tells."""
        self.messages.append(shape["messages"][-1])
        body = {**shape, "model": MODEL, "messages": self.messages}
        with self.service.stream(body, CHAT, self.key, **self.headers) as stream:
            assert stream.status == 200
            self.session = stream.session
            *chunks, done = stream.events()
        assert done == "[DONE]"
        assert chunks[-1]["usage"]["total_tokens"] == 7
        text = "".join(each["choices"][0]["delta"].get("content", "") for each in chunks if each["choices"])
        self.messages.append({"role": "assistant", "content": text.strip()})
        return json.loads(text)

    def task(self, name: str) -> Any:
        """Asks for a title, tags...; the answer."""
        shape = SHAPES["tasks"][name]
        reply = self.service.ask({**shape, "model": MODEL}, CHAT, self.key, **self.headers)
        assert reply.status == 200
        assert "x-appbuilder-session-id" not in reply.headers
        return json.loads(reply.json()["choices"][0]["message"]["content"])


def stored(service: Talking, where: str = "1 = 1", **values: Any) -> list[Any]:
    """What the component has stored."""
    found = rows(f"sqlite:///{service.server.folder}/chat.db", f"message_key = 'said' AND {where}", **values)
    return [row["message_value"].get("content") for row in found]


def test_a_chat_is_a_session_and_its_history_is_stored_once(service: Talking) -> None:
    chat = Chat(service, SHAPES["chat_header"]["X-OpenWebUI-Chat-Id"])
    first, second = SHAPES["turns"]
    assert chat.say(first)["before"] == []
    for name in SHAPES["tasks"]:
        assert chat.task(name)["before"] == []
    told = chat.say(second)
    questions = ["How tall is the tower?", "And how old?"]
    assert (told["before"], told["said"]) == (questions[:1], questions[1])
    assert chat.session == chat.headers["X-OpenWebUI-Chat-Id"]
    assert stored(service, "session_id = :s", s=chat.session) == questions
    assert told["user"] == "juergen@example.com"


def test_its_own_requests_are_kept_nowhere(service: Talking) -> None:
    chat = Chat(service, "a-chat-with-tasks-alone")
    for name in SHAPES["tasks"]:
        chat.task(name)
    everything = rows(f"sqlite:///{service.server.folder}/chat.db")
    assert "a-chat-with-tasks-alone" not in {row["session_id"] for row in everything}
    kept = json.dumps([row["message_value"] for row in everything])
    assert "<chat_history>" not in kept
    assert "facial expression" not in kept


def test_retrieval_is_a_turn(service: Talking) -> None:
    chat = Chat(service, "retrieval")
    chat.say(SHAPES["with_retrieval"])
    assert len(stored(service, "session_id = 'retrieval'")) == 1


def test_a_system_prompt_and_a_picture(service: Talking) -> None:
    shape = SHAPES["with_system_prompt_and_picture"]
    with service.stream({**shape, "model": MODEL}, CHAT, "root", **ANN, **SHAPES["chat_header"]) as stream:
        text = "".join(
            each["choices"][0]["delta"].get("content", "")
            for each in stream.events()
            if each != "[DONE]" and each["choices"]
        )
    told = json.loads(text)
    assert told["said"] == shape["messages"][-1]["content"]
    assert told["system"] == "You are a guide. Today is 2026-01-02."


def test_users_of_one_open_webui_have_sessions_of_their_own(service: Talking) -> None:
    Chat(service, "ann-s", ANN).say(SHAPES["turns"][0])
    body = {"messages": [{"role": "user", "content": "hi"}]}
    before = service.calls
    assert service.ask(body, CHAT, "root", **{**BEN, "X-OpenWebUI-Chat-Id": "ann-s"}).status == 404
    assert service.calls == before
    owners = [
        row["message_value"]["owner"]
        for row in rows(f"sqlite:///{service.server.folder}/chat.db", "session_id = 'ann-s'")
        if "owner" in row["message_value"]
    ]
    assert owners == [f"openwebui:{ANN['X-OpenWebUI-User-Id']}"]


@pytest.mark.parametrize(
    "chat_id", ["local:AbC", "temporary:AbC", "channel:0b0c8a54-55c7-4c8d-9c0e-3b7a3c5f9e1"]
)
def test_a_history_without_a_chat_s_id_is_its_user_s(service: Talking, chat_id: str) -> None:
    """A temporary chat: its id names the browser's connection, which several chats share."""
    ann = Chat(service, chat_id, ANN)
    assert ann.say(SHAPES["turns"][0])["before"] == []
    other = Chat(service, chat_id, BEN)
    assert other.say(SHAPES["turns"][0])["before"] == []
    other.messages = list(ann.messages)
    assert other.say(SHAPES["turns"][1])["before"] == []
    assert ann.say(SHAPES["turns"][1])["before"] == ["How tall is the tower?"]


def test_who_may_not_speak_for_others_does_not_by_a_header(service: Talking) -> None:
    mallory = Chat(service, "mallory-s", ANN, key="mallory")
    assert mallory.say(SHAPES["turns"][0])["user"] == "mallory"
    body = {"messages": [{"role": "user", "content": "hi"}]}
    own = service.ask({**body, "session_id": "mallory-s"}, CHAT, "mallory")
    assert own.status == 200  # the session is hers
    Chat(service, "ann-s-too", ANN).say(SHAPES["turns"][0])
    forged = {**ANN, "X-OpenWebUI-User-Role": "admin", "X-OpenWebUI-Chat-Id": "ann-s-too"}
    assert service.ask(body, CHAT, "mallory", **forged).status == 404


def test_an_id_that_is_too_long_for_a_session(service: Talking) -> None:
    chat = Chat(service, "x" * 300)
    chat.say(SHAPES["turns"][0])
    assert chat.say(SHAPES["turns"][1])["before"] == ["How tall is the tower?"]
    assert chat.session is not None
    assert len(chat.session) == 36


# Regenerate, Edit, Continue


def say(service: Talking, chat_id: str, *said: str) -> Told:
    """A request of Open WebUI with this conversation, of the user and the assistant in turn."""
    return service.say(*said, key="root", headers={**ANN, "X-OpenWebUI-Chat-Id": chat_id})


def questions(service: Talking, chat_id: str) -> list[str]:
    """The questions of the turns that the API shows."""
    turns = service.look(f"/sessions/{chat_id}", "root").json()["result"]["turns"]
    return [turn["input"] for turn in turns]


def test_an_answer_is_made_again_and_a_question_is_changed(service: Talking) -> None:
    one = say(service, "tree", "q1")
    for question in ("q2", "q2", "q2 changed"):
        told = say(service, "tree", "q1", one.text, question)
        assert (told.session, told.before) == ("tree", ["q1"])
        assert questions(service, "tree") == ["q1", question]
    service.look("/sessions/tree/export", "root")
    exported = service.look("/sessions/tree/export?format=openai", "root").json()["messages"]
    assert [each["content"] for each in exported if each["role"] == "user"] == ["q1", "q2 changed"]
    kept = rows(f"sqlite:///{service.server.folder}/chat.db", "session_id = 'tree' AND message_key = 'said'")
    assert [(row["message_value"]["content"], bool(row["deleted"])) for row in kept] == [
        ("q1", False),
        ("q2", True),
        ("q2", True),
        ("q2 changed", False),
    ]
    assert all(row["updated_at"] == row["created_at"] for row in kept)
    assert say(service, "tree", "q1", one.text, "q2 changed", told.text, "q3").before == ["q1", "q2 changed"]


def test_a_branch_of_which_nothing_is_kept(service: Talking) -> None:
    one = say(service, "unkept", "q1")
    say(service, "unkept", "q1", one.text, "q2")
    items = [
        {"role": "user", "content": "q1"},
        {"role": "assistant", "content": one.text},
        {"role": "user", "content": "q2"},
    ]
    body = {"input": items, "store": False}
    told = Told(service.ask(body, RESPONSES, "root", **{**ANN, "X-OpenWebUI-Chat-Id": "unkept"}))
    assert told.before == ["q1"]
    assert questions(service, "unkept") == ["q1", "q2"]


def test_an_answer_goes_on(service: Talking) -> None:
    one = say(service, "goes-on", "q1")
    assert say(service, "goes-on", "q1", one.text).before == ["q1"]
    assert questions(service, "goes-on") == ["q1", "q1"]


def test_the_first_answer_is_made_again(service: Talking) -> None:
    say(service, "first", "q1")
    assert say(service, "first", "q1").before == []
    assert questions(service, "first") == ["q1"]


def test_what_was_changed_on_its_way_replaces_nothing(service: Talking) -> None:
    one = say(service, "changed", "q1")
    two = say(service, "changed", "q1", one.text, "q2")
    told = say(service, "changed", "q1", one.text, "Context: ...\nq2", two.text, "q3")
    assert told.before == ["q1", "q2"]
    assert questions(service, "changed") == ["q1", "q2", "q3"]


def test_elsewhere_nothing_is_replaced(service: Talking) -> None:
    """A session that another header names follows all that was said; one recognized begins again."""
    headers = {"X-Appbuilder-Session-Id": "elsewhere"}
    one = service.say("q1", key="root", headers=headers)
    service.say("q1", one.text, "q2", key="root", headers=headers)
    assert service.say("q1", one.text, "q2", key="root", headers=headers).before == ["q1", "q2"]
    named_both = {**headers, "X-OpenWebUI-Chat-Id": "other"}
    assert service.say("q1", one.text, "q2", key="root", headers=named_both).before == ["q1", "q2", "q2"]
