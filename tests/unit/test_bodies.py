"""What bodies may hold, on each API; and that large ones are not read on the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any
from unittest import mock

import anyio
import pytest
from tests.unit.engines import ask, engine_of

from appbuilder import jsontext
from appbuilder.core.message import Message
from appbuilder.engine.memory_budget import Budget
from appbuilder.errors import InvalidRequest, Overloaded, RateLimited
from appbuilder.protocols import chat
from appbuilder.protocols.body import UnreadBody, json_object
from appbuilder.protocols.errors import to_problem
from appbuilder.protocols.openai.history_digest import digest
from appbuilder.protocols.openai.messages import ChatMessage
from appbuilder.serve.http.memory_charge import charge
from appbuilder.serve.http.messages import own_connection, read_body, send_parts
from appbuilder.serve.server.allocator import set_up_allocator
from appbuilder.serve.server.write_coalescing import WriteCoalescer

MANY = b'{"message":[' + b"[]," * 1000 + b"[]]}"


def test_a_body_of_too_many_values_is_refused_with_a_sentence() -> None:
    with pytest.raises(InvalidRequest, match="more than 1000 values"):
        json_object(MANY, 1000)
    assert len(json_object(MANY, 1003)["message"]) == 1001
    assert len(json_object(MANY)["message"]) == 1001


def test_post_chat_has_the_limit() -> None:
    with pytest.raises(InvalidRequest, match="more than 1000 values"):
        chat.parse(MANY, lambda name: None, id="r", needs_credential=False, max_values=1000)


@pytest.mark.parametrize(("size", "off"), [(64 * 1024, False), (64 * 1024 + 1, True)])
def test_large_bodies_are_read_off_the_event_loop(size: int, *, off: bool) -> None:
    async def where() -> tuple[int, int]:
        return threading.get_ident(), await own_connection(size, threading.get_ident)

    here, there = anyio.run(where)
    assert (here != there) is off


def test_no_more_than_two_large_bodies_are_read_at_a_time() -> None:
    at_once, most, lock = 0, 0, threading.Lock()
    two = threading.Barrier(2)

    def work() -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        two.wait(10)
        with lock:
            at_once -= 1

    async def all_at_once() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(own_connection, 10**6, work)

    anyio.run(all_at_once)
    assert most == 2


@pytest.mark.parametrize("space", [" ", "\n", "\u2003", "\u3000", " \u00a0\x1c"])
def test_a_long_text_is_recognized_without_its_white_space(space: str) -> None:
    words = ["word", "词"] * 2000
    long, short = ChatMessage("user", space.join(words)), ChatMessage("user", "".join(words))
    assert digest([long]) == digest([short])


def said(*texts: str) -> list[Any]:
    return [ChatMessage("user", text) for text in texts]


def test_white_space_is_what_split_takes_for_it() -> None:
    every = "".join(map(chr, range(0x3002))) * 2
    assert digest(said(every)) == digest(said("".join(every.split())))


# Memory


def receiving(*parts: bytes) -> Any:
    """An ASGI ``receive`` of a body in these parts."""
    left = list(parts)

    async def receive() -> dict[str, Any]:
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    return receive


def test_a_body_is_counted_as_it_arrives() -> None:
    account = Budget(0, 100_000).account("ann")
    read = anyio.run(read_body, receiving(*[b"x" * 1000] * 50), 10**6, account)
    assert read == b"x" * 50_000
    assert 50_000 <= account.size < 70_000
    with pytest.raises(UnreadBody) as refused:
        anyio.run(read_body, receiving(*[b"x" * 1000] * 150), 10**6, account)
    assert isinstance(refused.value.error, RateLimited)
    assert account.size <= 100_000


def test_a_small_body_costs_no_count() -> None:
    account = Budget(1, 1).account("ann")
    assert anyio.run(read_body, receiving(b"x" * 1000), 10**6, account) == b"x" * 1000


@pytest.mark.parametrize(
    "value", ["x" * 200_000, ["ab"] * 30_000, {"a": "\U0001f600" * 50_000}, [[]] * 40_000]
)
def test_a_value_counts_twice_what_it_takes(value: Any) -> None:
    body = jsontext.dumps(value)
    account = Budget(0, 0).account("")
    account.take(10**9)  # as while it was read
    charge(account, body, jsontext.loads(body))
    assert 2 * len(body) <= account.size <= 100 * len(body)
    assert account.size == 2 * jsontext.size_of(jsontext.loads(body))


@pytest.mark.parametrize(
    "value", [["ab"] * 1000, {str(key): [] for key in range(1000)}, ["\U0001f600x"] * 999]
)
def test_what_is_estimated_is_no_less_than_it_takes(value: Any) -> None:
    body = jsontext.dumps(value)
    assert jsontext.memory_of(body) >= jsontext.size_of(jsontext.loads(body)) * 0.8


def test_no_memory_is_told_as_busy_and_asks_to_try_again() -> None:
    what = to_problem(MemoryError())
    assert (what.status, what.retry_after) == (503, 1)


@pytest.mark.parametrize("iterating", [True, False])
def test_a_component_without_memory_is_told_as_busy(iterating: bool) -> None:
    def pieces() -> Iterator[str]:
        yield "said"
        raise MemoryError

    def run(message: Message[Any], stream: bool) -> Message[Any]:
        if iterating:
            return Message(pieces())
        raise MemoryError

    engine, _, _ = engine_of(run)
    assert isinstance(engine.execute(ask(stream=True)).log.wait_outcome().error, Overloaded)


class Transport:
    """Tells what is written, and when."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return False


def test_a_large_write_does_not_wait_so_that_the_writer_is_told_to() -> None:
    async def write() -> list[bytes]:
        transport: Any = Transport()
        corked = WriteCoalescer(transport, asyncio.get_running_loop(), lambda _: None)
        corked.write(b"small")
        assert transport.written == []
        corked.write(b"x" * 20_000)
        return list(transport.written)

    assert asyncio.run(write()) == [b"small" + b"x" * 20_000]


@pytest.mark.parametrize("more", [True, False])
def test_a_large_answer_is_sent_in_parts(more: bool) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    body = bytes(range(256)) * 6000
    anyio.run(lambda: send_parts(send, body, more=more))
    assert b"".join(message["body"] for message in sent) == body
    assert [message["more_body"] for message in sent] == [True] * (len(sent) - 1) + [more]
    assert len(sent) == 3


def test_the_allocator_is_left_alone_where_the_environment_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    with mock.patch("ctypes.CDLL", side_effect=AssertionError):
        set_up_allocator()
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    with mock.patch("ctypes.CDLL", side_effect=OSError) as library:
        set_up_allocator()
    assert library.called
