"""What bodies may hold, on each API; and that large ones are not read on the event loop."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest

from appbuilder.errors import InvalidRequest
from appbuilder.serve.asgi.http import apart
from appbuilder.wire import chat
from appbuilder.wire.body import json_object
from appbuilder.wire.openai.messages import Said
from appbuilder.wire.openai.transcripts import digest

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
        return threading.get_ident(), await apart(size, threading.get_ident)

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
                group.start_soon(apart, 10**6, work)

    anyio.run(all_at_once)
    assert most == 2


@pytest.mark.parametrize("space", [" ", "\n", "\u2003", "\u3000", " \u00a0\x1c"])
def test_a_long_text_is_recognized_without_its_white_space(space: str) -> None:
    words = ["word", "词"] * 2000
    long, short = Said("user", space.join(words)), Said("user", "".join(words))
    assert digest([long]) == digest([short])


def said(*texts: str) -> list[Any]:
    return [Said("user", text) for text in texts]


def test_white_space_is_what_split_takes_for_it() -> None:
    every = "".join(map(chr, range(0x3002))) * 2
    assert digest(said(every)) == digest(said("".join(every.split())))
