"""A request that goes on from an earlier turn of its session: what it replaces, and when nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engines import ask, engine_of, remember

from appbuilder.core.conversations import all_rows
from appbuilder.core.message import Message
from appbuilder.core.user_session import UserSession
from appbuilder.engine.persistence import RetentionPolicy
from appbuilder.engine.turn_request import TurnRequest
from appbuilder.errors import TurnCancelled
from appbuilder.protocols.openai.history_digest import Pair, goes_on_after, pairs
from appbuilder.protocols.openai.messages import Conversation, read_messages
from appbuilder.serve.routes.openai.replaced_turns import replaced_turns

A, B, C, D = ("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")


def talk_of(*said: str, system: str = "") -> Conversation:
    """User and assistant in turn."""
    messages: list[Any] = [{"role": "system", "content": system}] if system else []
    messages += [{"role": "assistant" if at % 2 else "user", "content": text} for at, text in enumerate(said)]
    return read_messages(messages)


# Where it goes on, pure


@pytest.mark.parametrize(
    ("resent", "asked", "stored", "kept"),
    [
        ([A, B], "c", [A, B], 2),  # it simply goes on
        ([A], "b", [A, B], 1),  # the newest answer is made again
        ([A], "x", [A, B], 1),  # the newest question is changed
        ([A], "x", [A, B, C, D], 1),
        ([A, B, C], "c", [A, B, C], 3),  # an answer goes on
        ([("a", "other")], "b", [A, B], None),  # the answer before was changed
        ([("a+context", "1")], "b", [A, B], None),
        # An earlier turn is the same, but what lies between may be what was changed.
        ([A, ("b+context", "2")], "c", [A, B], None),
        ([A, ("b", "edited")], "c", [A, B, C], None),
        ([B], "c", [A, B], 2),  # only the newest part is sent
        ([B], "c", [A, B, C], 2),
        ([("b", "")], "c", [A, ("b", "")], 2),  # it failed, and is not asked again
        ([A, B], "x", [], None),  # nothing is stored
        # The same turn several times.
        ([A], "a", [A, A], 1),
        ([A, A], "a", [A, A, A], 2),
        ([A, A, A], "a", [A, A, A], 3),
        ([B, A], "x", [A, B, A, C], 3),
        ([A, B, A], "x", [A, B, A, C, A], 3),
        # An answer went on, and is sent again as one; then what follows is changed.
        ([("a", "12")], "b", [A, ("a", "2")], 2),
        ([("a", "12")], "b", [A, ("a", "2"), B], 2),
        ([("a", "123"), B], "c", [A, ("a", "2"), ("a", "3"), B, C], 4),
        ([A, ("b", "23")], "c", [A, B, ("b", "3"), C], 3),
        ([("b", "23")], "c", [A, B, ("b", "3"), C], 3),
        ([("a", "1")], "a", [A, ("a", "2"), B], 1),  # the first part is to go on in another way
        ([("a", "12")], "b", [A, ("b", "2"), B], None),
        ([("a", "12")], "b", [("a", "12"), ("a", "")], 1),
        ([("a", "12")], "b", [("a", "2"), ("a", "1"), B], None),
        # The first answer is made again, while nothing else was asked.
        ([], "a", [A], 0),
        ([], " a\n", [A, ("a", "")], 0),
        ([], "x", [A], None),
        ([], "a", [A, B], None),
        ([], "a", [], None),
        # The question before it failed before it was stored, or its answer did not arrive.
        ([("a", "")], "b", [B], 0),
        ([("a", "")], "b", [A, B], 1),
        ([("a", "")], "b", [A], None),
        ([("a", "")], "x", [A, B], None),
        ([A, ("b", "")], "c", [A, C], 1),
        ([A, ("b", "")], "c", [A, B, C], 2),
        ([A, ("b", ""), ("c", "")], "d", [A, C, D, D], 2),
        ([A, ("b", "")], "x", [A, C], None),
        ([("a", "other"), ("b", "")], "c", [A, C], None),
    ],
    ids=repr,
)
def test_where_a_request_goes_on(
    resent: Sequence[Pair], asked: str, stored: Sequence[Pair], kept: int | None
) -> None:
    assert goes_on_after(resent, asked, stored, from_start=True) == kept


def test_a_session_that_was_not_read_to_its_start() -> None:
    assert goes_on_after([A], "a", [A, A], from_start=False) == 2
    assert goes_on_after([], "a", [A], from_start=False) is None


turn_pairs = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("12")), max_size=6)


@given(turn_pairs, st.integers(0, 6))
def test_a_branch_is_found_whatever_repeats(stored: list[Pair], cut: int) -> None:
    """A client that sends all of its branch keeps exactly that branch."""
    resent = stored[:cut]
    if resent:
        assert goes_on_after(resent, "new", stored, from_start=True) == len(resent)


@given(turn_pairs, turn_pairs, st.booleans())
def test_nothing_is_replaced_but_behind_the_turn_before_the_question(
    resent: list[Pair], stored: list[Pair], from_start: bool
) -> None:
    kept = goes_on_after(resent, "new", stored, from_start=from_start)
    assert kept is None or stored[kept - 1] == resent[-1]


def test_the_turns_a_client_sends_again() -> None:
    assert pairs(talk_of("q 1")) == []
    assert pairs(talk_of(" q\n1", "a 1\n", "q2", system="Be brief.")) == [("q1", "a1")]
    assert pairs(talk_of("q1", "a1", "q2", "a2 begun")) == [("q1", "a1"), ("q2", "a2begun")]
    messages = [
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "42", "tool_call_id": "x"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "unanswered"},
        {"role": "user", "content": "now"},
    ]
    assert pairs(read_messages(messages)) == [("q", "a"), ("unanswered", "")]


# In an engine


class Chat:
    """A session of an engine whose component remembers what was said."""

    def __init__(self) -> None:
        self.before: list[Any] = []
        self.engine, self.store, _ = engine_of(self._run)
        self.failing: Exception | None = None

    def _run(self, message: Message[Any], stream: bool) -> Message[Any]:
        self.before = [each.content for each in UserSession().get_history("query", 100)]
        answer = Message(self._pieces(str(message.content)) if stream else f"re {message.content}")
        UserSession().append({"query": message, "answer": answer})
        if self.failing is not None and not stream:
            raise self.failing
        return answer

    def _pieces(self, asked: str) -> Iterator[str]:
        yield "re "
        yield asked
        if self.failing is not None:
            raise self.failing

    def say(self, *said: str, **members: Any) -> Any:
        """What came of the turn."""
        talk = talk_of(*said)
        request = TurnRequest(
            talk.message,
            "s",
            replaces=lambda: replaced_turns(self.store.repository(), "s", talk),
            **members,
        )
        keep = RetentionPolicy(request.run_id, "user:ann", lambda error: {})
        return self.engine.execute(request.admitted(guard=None, keep=keep, user_id=None)).log.wait_outcome()

    @property
    def shown(self) -> list[Any]:
        """The questions of the turns that are there."""
        rows = all_rows(self.store.repository(), "s")
        return [row.value["input"]["content"] for row in rows if row.key == "_appbuilder.turn"]

    @property
    def remembered(self) -> list[Any]:
        return [each["content"] for each in self.store.history("s", "query", 100)]


def test_regenerate_and_edit() -> None:
    chat = Chat()
    chat.say("one")
    chat.say("one", "re one", "two")
    assert chat.before == ["one"]
    for question in ("two", "two", "two again"):
        chat.say("one", " re one", question)
        assert chat.before == ["one"]
        assert chat.shown == chat.remembered == ["one", question]
    chat.say("one", "re one", "two again", "re two again", "three")
    assert chat.before == ["one", "two again"]
    chat.say("one", "re one", "two again", "re two again")  # Continue
    assert chat.before == chat.shown[:-1] == ["one", "two again"]
    both = 2 * "re two again"
    for question in ("three", "three", "three again"):
        chat.say("one", "re one", "two again", both, question)
        assert chat.before == ["one", "two again", "two again"]
        assert chat.shown == [*chat.before, question]


def test_the_first_answer_is_made_again() -> None:
    chat = Chat()
    for _ in range(3):
        chat.say("one")
        assert chat.before == []
        assert chat.shown == ["one"]
    chat.say("another")
    assert chat.before == ["one"]
    assert chat.shown == ["one", "another"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_that_fails_replaces_nothing(stream: bool) -> None:
    chat = Chat()
    chat.say("one")
    chat.say("one", "re one", "two")
    chat.failing = ValueError("no")
    assert chat.say("one", "re one", "other", stream=stream).error is not None
    assert chat.remembered == ["one", "two"]
    assert chat.shown == ["one", "two", "other"]
    chat.failing = None
    chat.say("one", "re one", "other")
    assert chat.remembered == chat.shown == ["one", "other"]


@pytest.mark.parametrize("text", ["", "some"])
def test_a_turn_that_is_stopped(text: str) -> None:
    """Before it said anything it replaces nothing."""
    begun = threading.Event()

    def script(message: Message[Any], stream: bool) -> Message[Any]:
        def pieces() -> Iterator[str]:
            yield text
            begun.set()
            while True:
                yield ""

        return remember(message, Message(pieces() if message.content == "again" else "re"))

    engine, store, _ = engine_of(script)
    engine.execute(ask(message="one"))
    talk = read_messages([{"role": "user", "content": "one"}])
    run = engine.start(
        ask(message="again", stream=True, replaces=lambda: replaced_turns(store.repository(), "s", talk))
    )
    assert begun.wait(10)
    run.cancel(TurnCancelled("stopped"))
    run.log.wait_outcome()
    kept = [each["content"] for each in store.history("s", "query", 10)]
    assert kept == ([] if text else ["one"])


def test_two_at_once() -> None:
    """The second waits for its session, and replaces what the first has put there."""
    chat = Chat()
    chat.say("one")
    chat.say("one", "re one", "two")
    threads = [threading.Thread(target=chat.say, args=("one", "re one", f"two {at}")) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert chat.shown == chat.remembered
    assert len(chat.shown) == 2


def test_turns_of_a_component_alone() -> None:
    """Stored over POST /chat of FlaskRuntime, without a row of the service's own."""
    chat = Chat()
    for text in ("one", "two"):
        chat.engine.execute(ask(message=text))
    chat.say("one", "re one", "other")
    assert chat.before == ["one"]
    assert chat.remembered == ["one", "other"]


def test_a_long_session() -> None:
    chat = Chat()
    said: list[str] = []
    for number in range(60):
        chat.say(*said, str(number))
        said += [str(number), f"re {number}"]
    chat.say(*said[:60], "other")
    assert chat.before == [str(number) for number in range(30)]
    assert chat.shown == [*chat.before, "other"]
