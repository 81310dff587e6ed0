from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appbuilder import jsontext
from appbuilder.core.message import AnswerMessage, Message, dump, restore, text_of


def pieces(*texts: Any) -> Iterator[Any]:
    yield from texts


@pytest.mark.parametrize(
    ("content", "mtype"),
    [("text", "str"), ({"a": 1}, "dict"), (["a"], "list"), (None, "NoneType"), (3, "int")],
)
def test_mtype_is_the_contents_type(content: Any, mtype: str) -> None:
    assert Message(content).mtype == mtype
    assert Message(content=content, mtype="another").mtype == mtype


def test_every_message_has_an_id_of_its_own() -> None:
    """The SDK gives all messages of a process the same id."""
    first, second = Message("a"), Message("a")
    assert first.id != second.id
    assert first.id is not None
    assert len(first.id) == 36
    assert Message("a", id="mine").id == "mine"


def test_str_shows_name_content_and_type() -> None:
    assert str(Message("hi")) == "Message(name=msg, content=hi, mtype=str)"
    answer: Message[Any] = AnswerMessage("hi", token_usage={"total_tokens": 4})
    assert str(answer) == (
        "Message(name=msg, content=hi, mtype=str, extra={}, token_usage={'total_tokens': 4})"
    )


def test_further_members_are_kept() -> None:
    message: Message[Any] = Message("hi", colour="blue", nothing=None)
    assert cast(Any, message).colour == "blue"
    assert dump(message) == {
        "content": "hi", "name": "msg", "mtype": "str", "id": message.id, "colour": "blue"
    }


def test_messages_are_generic_in_their_content() -> None:
    assert Message[str]("text").content == "text"
    with pytest.raises(ValueError):
        Message[int](cast(Any, "text"))


def test_a_stream_becomes_whole_when_it_was_iterated() -> None:
    message: Message[Any] = Message(pieces("a", "b"))
    assert message.mtype == "str"
    assert list(message.content) == ["a", "b"]
    assert message.content == "ab"
    assert message.mtype == "str"


def test_a_stream_that_was_closed_is_what_has_passed() -> None:
    closed = []

    def source() -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(True)

    message: Message[Any] = Message(source())
    stream = message.content
    assert next(stream) == "a"
    stream.close()
    stream.close()
    assert closed == [True]
    assert message.content == "a"


def test_content_set_meanwhile_stays() -> None:
    message: Message[Any] = Message(pieces("a"))
    stream = message.content
    message.content = "mine"
    assert list(stream) == ["a"]
    assert message.content == "mine"


def test_two_messages_of_one_stream_both_become_whole() -> None:
    inner: Message[Any] = Message(pieces("a", "b"))
    outer: Message[Any] = Message(piece.upper() for piece in inner.content)
    assert list(outer.content) == ["A", "B"]
    assert (inner.content, outer.content) == ("ab", "AB")


def test_a_message_made_of_another_s_stream_becomes_whole_too() -> None:
    inner: Message[Any] = Message(pieces("a", "b"))
    outer: Message[Any] = Message(inner.content, name="mine")
    assert list(outer.content) == ["a", "b"]
    assert (inner.content, outer.content, outer.mtype) == ("ab", "ab", "str")


def test_pydantic_s_dump_of_a_stream_is_its_text() -> None:
    message: Message[Any] = Message(pieces("a", "b"), id="1")
    assert message.model_dump() == {"content": "ab", "name": "msg", "mtype": "str", "id": "1"}
    message = Message(pieces("a", "b"), id="1")
    assert message.model_dump_json() == '{"content":"ab","name":"msg","mtype":"str","id":"1"}'
    assert message.content == "ab"
    message = Message({"at": [1]}, id=None)
    assert message.model_dump_json(exclude_none=True) == '{"content":{"at":[1]},"name":"msg","mtype":"dict"}'


def test_an_asynchronous_stream_becomes_whole_too() -> None:
    async def source() -> AsyncIterator[str]:
        yield "a"
        yield "b"

    async def run() -> Any:
        message: Message[Any] = Message(source())
        assert message.mtype == "str"
        assert [piece async for piece in message.content] == ["a", "b"]
        return message.content

    assert asyncio.run(run()) == "ab"


@pytest.mark.parametrize(
    ("piece", "text"),
    [("a", "a"), (None, ""), (b"\xe4\xbd\xa0", "你"), (b"\xff", "\ufffd"), ({"a": "好"}, '{"a":"好"}'),
     (3, "3"), (Message("inner"), "inner")],
)
def test_every_piece_has_a_text(piece: Any, text: str) -> None:
    assert text_of(piece) == text
    message: Message[Any] = Message(iter(["<", piece, ">"]))
    assert list(message.content) == ["<", text if isinstance(piece, bytes) else piece, ">"]
    assert message.content == f"<{text}>"


def test_a_piece_is_what_it_was_when_it_was_handed_out() -> None:
    def source() -> Iterator[dict[str, int]]:
        state = {"n": 0}
        for _ in range(2):
            state["n"] += 1
            yield state

    message: Message[Any] = Message(source())
    list(message.content)
    assert message.content == '{"n":1}{"n":2}'


def test_what_was_dumped_is_restored_as_it_was() -> None:
    answer: Message[Any] = AnswerMessage(
        {"a": 1}, extra={"search_db": []}, token_usage={"total_tokens": 1}, colour="blue"
    )
    restored = restore(dump(answer))
    assert isinstance(restored, AnswerMessage)
    assert dump(restored) == dump(answer)


def test_a_row_of_the_sdk_is_restored() -> None:
    row = {"content": "你好", "name": "msg", "mtype": "dict", "id": "0fc6c5f7-23bf-4f25-8555-69b4155908b7",
           "extra": {}, "token_usage": {"prompt_tokens": 2}}
    restored = restore(row)
    assert restored.content == "你好"
    assert dump(restored) == row


class Words(str):
    """As LangChain's TextAccessor."""

    __slots__ = ()


HALVES: list[tuple[list[Any], list[Any]]] = [
    ([Words("a"), Words("\ud83d"), Words("\ude00")], ["a", "😀"]),
    (["smile \ud83d", "\ude00 end"], ["smile ", "😀 end"]),
    (["\ud83d", "", "\ude00"], ["😀"]),
    (["a\ud83d"], ["a", "\ufffd"]),
    (["\ud83d", {"a": 1}, "\ude00"], ["\ufffd", {"a": 1}, "\ufffd"]),
    (["a\ude00b", "c"], ["a\ufffdb", "c"]),
    (["你\n", "\u3000", "😀"], ["你\n", "\u3000", "😀"]),
    (["", "a"], ["", "a"]),
    (["\ud83d", None, b"", "\ude00"], ["😀"]),
    ([None, "a"], [None, "a"]),
    (["a", Message("\ud83d"), Message("\ude00")], ["a", "😀"]),
    ([bytes([each]) for each in "é😀a".encode()], ["é", "😀", "a"]),
    ([b"\xe4\xbd", bytearray(b"\xa0!")], ["你!"]),
    ([b"a\xe4\xbd", "b"], ["a", "\ufffdb"]),
    ([b"\xe4\xbd", {"a": 1}], ["\ufffd", {"a": 1}]),
    ([b"\xff\xe4\xbd"], ["\ufffd", "\ufffd"]),
    (["\ud83d", b"\xe4\xbd", "\ude00"], ["\ufffd\ufffd\ufffd"]),
]


@pytest.mark.parametrize(("pieces", "passed"), HALVES)
def test_halves_of_a_pair_are_joined_where_pieces_meet(pieces: list[Any], passed: list[Any]) -> None:
    message: Message[Any] = Message(iter(pieces))
    assert list(message.content) == passed
    assert message.content == "".join(map(text_of, passed))

    async def source() -> Any:
        for piece in pieces:
            yield piece

    async def read(content: Any) -> list[Any]:
        return [piece async for piece in content]

    later: Message[Any] = Message(source())
    assert asyncio.run(read(later.content)) == passed
    assert later.content == message.content


@given(st.lists(st.text(st.sampled_from("a你😀\ud83d\ude00\n"), max_size=3), max_size=6))
def test_what_passes_is_well_formed_and_what_is_kept(pieces: list[str]) -> None:
    message: Message[Any] = Message(iter(pieces))
    passed = list(message.content)
    assert all(jsontext.is_clean(piece) for piece in passed)
    assert "".join(passed) == message.content == jsontext.clean("".join(pieces))
