"""Imports, exports and reading in bounded steps: limits of a file, slots of a caller, clients that leave."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.unit.service_client import Desk

from appbuilder.core.conversations import NewSession
from appbuilder.errors import Overloaded, RateLimited
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.http import long_requests
from appbuilder.serve.http.long_requests import ClientDisconnected, Written, each_of, in_slices, presence
from appbuilder.serve.http.rate_limits import limit_key
from appbuilder.serve.http.thread_pools import BULK, MOST_IN_LINE, WRITES, CallerQueues, CallerSlots, Pool

ONE = b'{"messages": [{"role": "user", "content": "a"}]}\n'


def listed(desk: Desk) -> int:
    return len(desk.get("/sessions", limit=100)["sessions"])


def messages(count: int) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": "a"}] * count}).encode() + b"\n"


def test_an_import_has_so_many_sessions() -> None:
    desk = Desk(import_sessions=3)
    assert "more than 3 sessions" in desk.bring_in(ONE * 4, status=413)
    assert "more than 3 sessions" in desk.bring_in(b'{"messages": []}\n' * 4, status=413)
    assert listed(desk) == 0, "nothing is stored of a file that is refused"
    assert len(desk.bring_in(ONE * 3)["imported"]) == 3


@pytest.mark.parametrize("file", [messages(10), ONE + b"\n" * 9, ONE * 6, b"\n" * 11])
def test_an_import_has_so_many_lines(file: bytes) -> None:
    """Each message is one, as it becomes a row; empty lines count too."""
    desk = Desk(import_lines=10)
    assert "more than 10 lines" in desk.bring_in(file, status=413)
    assert listed(desk) == 0
    assert desk.bring_in(messages(9))["imported"][0]["rows"] == 9


def test_many_errors_in_one_line_are_told_as_one() -> None:
    parts = [1] * 90_000
    line = json.dumps({"messages": [{"role": "user", "content": parts}]}).encode()
    said = Desk().bring_in(line, status=400)
    assert said.startswith("Line 1: messages.0.content")
    assert len(said) < 300


def test_a_line_has_so_many_values() -> None:
    file = ONE + b'{"messages": [], "more": [' + b"1," * 200 + b"1]}"
    assert Desk(max_values=100).bring_in(file, status=400) == "Line 2: it holds more than 100 values."
    assert Desk(max_values=1000).bring_in(file)["empty"] == 1


def test_sessions_are_written_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    written: list[int] = []
    importing = desk.repository.import_sessions

    def counted(sessions: Sequence[NewSession]) -> Sequence[bool]:
        written.append(len(sessions))
        return importing(sessions)

    monkeypatch.setattr(desk.repository, "import_sessions", counted)
    assert len(desk.bring_in(ONE * 450)["imported"]) == 450
    assert written == [200, 200, 50]


def test_a_file_with_one_session_twice_brings_it_once() -> None:
    desk = Desk()
    desk.say("s", "hello")
    file = desk.file("/sessions/export")
    told = Desk().bring_in(file + file)
    assert ([each["session_id"] for each in told["imported"]], told["existing"]) == (["s"], ["s"])


def test_more_than_a_caller_may_have_at_once_is_refused() -> None:
    desk = Desk(bulk_per_caller=0)
    for method, path in (("POST", "/sessions/import"), ("GET", "/sessions/export"), ("DELETE", "/sessions")):
        assert "wait until one has ended" in desk.ask(method, path, status=429, params={"user": "ann"})
    desk = Desk(bulk_requests=0)
    assert "in the service" in desk.ask("GET", "/sessions/export", status=503)


def test_slots_come_back() -> None:
    desk = Desk(bulk_per_caller=1)
    for _ in range(3):
        desk.bring_in(ONE)
        desk.bring_in(b"x", status=400)
        desk.file("/sessions/export")
        desk.ask("GET", "/sessions/export", status=400, params={"format": "x"})
        desk.ask("DELETE", "/sessions", params={"user": "ann"})


def test_slots_are_counted_by_process_and_caller() -> None:
    slots = CallerSlots(3, 2)

    async def take() -> None:
        async with slots.slot("ann"), slots.slot("ann"):
            with pytest.raises(RateLimited, match="2 imports"):
                slots.take("ann")
            async with slots.slot("bob"):
                with pytest.raises(Overloaded):
                    slots.take("eve")
            slots.take("eve")
            slots.give_back("eve")

    asyncio.run(take())
    asyncio.run(take())


def test_a_caller_waits_in_line_behind_itself_alone() -> None:
    lines = CallerQueues(most=2, waiting=1)

    async def stand() -> None:
        async with AsyncExitStack() as held:
            assert await held.enter_async_context(lines.place("ann")) is False
            await held.enter_async_context(lines.place("ann"))
            third = AsyncExitStack()
            waiting = asyncio.ensure_future(third.enter_async_context(lines.place("ann")))
            await asyncio.sleep(0)
            assert not waiting.done()
            with pytest.raises(RateLimited):
                await held.enter_async_context(lines.place("ann"))
            assert await held.enter_async_context(lines.place("bob")) is False
        assert await waiting is True
        await third.aclose()
        assert lines._lines == {}

    asyncio.run(stand())
    assert MOST_IN_LINE >= 100


def test_visitors_are_charged_by_their_address() -> None:
    """Another cookie is to be had for the asking."""
    one, two = (Identity(name, f"visitor:{name}", peer="10.0.0.1") for name in ("one", "two"))
    assert limit_key(one) == limit_key(two) == "10.0.0.1"
    assert limit_key(Identity("anonymous", "anonymous", peer="10.0.0.1")) == "10.0.0.1"
    assert limit_key(Identity("ann", "user:ann")) == "user:ann"


def test_kinds_of_work_do_not_wait_for_each_other() -> None:
    released = threading.Event()

    async def work() -> None:
        held = [asyncio.ensure_future(BULK.run(released.wait)) for _ in range(3 * BULK.threads)]
        assert await Pool("other", 1).run(lambda: 1) == 1
        assert await WRITES.run(lambda: 2) == 2
        released.set()
        await asyncio.gather(*held)

    asyncio.run(work())


class Client:
    """The other end of a request."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}


def test_work_stops_when_its_client_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_requests, "SLICE", 0.0)
    taken: list[int] = []

    async def work() -> None:
        client, loop = Client(), asyncio.get_running_loop()

        def steps() -> Iterator[None]:
            for number in range(1000):
                taken.append(number)
                if number == 3:
                    loop.call_soon_threadsafe(client.gone.set)
                yield

        async with presence(client.receive) as here:
            with pytest.raises(ClientDisconnected):
                await in_slices(BULK, steps(), here)

    asyncio.run(work())
    assert 4 <= len(taken) < 1000


def test_steps_are_taken_to_the_end_and_errors_come_out() -> None:
    taken: list[int] = []

    def failing() -> Iterator[None]:
        yield
        raise ValueError("no")

    async def work() -> None:
        async with presence(Client().receive) as here:
            await in_slices(WRITES, map(taken.append, range(100)), here, writing=True)
            with pytest.raises(ValueError, match="no"):
                await in_slices(BULK, failing(), here)

    asyncio.run(work())
    assert taken == list(range(100))


def test_an_answer_is_written_in_parts_until_its_client_leaves() -> None:
    sent: list[Any] = []
    ended: list[bool] = []

    async def work(leave_after: int) -> None:
        client = Client()

        async def send(message: Any) -> None:
            sent.append(message)
            if len(sent) == leave_after:
                client.gone.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        answer = Written(each_of([b"x" * 100_000, b"y" * 10, b"z" * 200_000]), "application/json", {})
        answer.held.callback(ended.append, True)
        await answer({"type": "http"}, client.receive, send)

    asyncio.run(work(0))
    assert b"".join(each.get("body", b"") for each in sent) == b"x" * 100_000 + b"y" * 10 + b"z" * 200_000
    assert all(len(each.get("body", b"")) <= long_requests.WRITE for each in sent)
    assert not sent[-1].get("more_body")
    sent.clear()
    asyncio.run(work(3))
    assert len(sent) == 3
    assert ended == [True, True]


def test_what_is_not_taken_is_not_kept() -> None:
    async def work() -> AsyncIterator[bytes]:
        async for each in each_of([b"1", b"2"]):
            yield each

    async def first() -> bytes:
        return await anext(work())

    assert asyncio.run(first()) == b"1"


def test_a_page_of_turns_ends_where_its_bytes_do() -> None:
    desk = Desk(page_bytes=10_000)
    for number in range(6):
        desk.say("s", f"{number}" + "x" * 1000)
    desk.say("s", "6" + "x" * 50_000)
    desk.say("s", "7")
    pages: list[list[str]] = []
    cursor: dict[str, Any] = {}
    while True:
        page = desk.get("/sessions/s", limit=50, **cursor)
        pages.insert(0, [turn["input"][0] for turn in page["turns"]])
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert [each for page in pages for each in page] == list("01234567")
    assert pages[-2:] == [["6"], ["7"]], "one that is larger stands alone"
    assert len(pages) >= 4
