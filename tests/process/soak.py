"""The service under far more clients than it answers: idle streams, slow readers, five times the load.

As a program: ``python -m tests.process.soak [idle streams] [slow readers]`` (``make soak``). While they are
there a trivial request must be answered within a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.process.serving import SERVICE, resident, serve

IDLE, SLOW = 10_000, 1_000
TRIVIAL = 1.0
AT_ONCE = 200
"""Connections that are opened at the same time."""
MOST_TURNS = 100
"""Of the service under too much load; five times as many clients come."""
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def request(message: Any, *, stream: bool) -> bytes:
    body = json.dumps({"message": message, "stream": stream}).encode()
    head = "POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def ask(port: int, message: Any, *, buffer: int = 0) -> tuple[int, bytes, Stream]:
    """Status and headers of the answer to a stream that is asked for, and its connection.

    :param buffer: bytes the client's side takes that nobody has read; 0: as many as usual.
    """
    sock = socket.socket()
    sock.setblocking(False)
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=buffer or 65536)
    writer.write(request(message, stream=True))
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split()[1]), head, (reader, writer)


async def trivial(port: int) -> float:
    """Seconds of a trivial request on a connection of its own."""
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request({"pieces": ["yes"], "mark": ""}, stream=False))
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert head.split()[1] == b"200", head
    return time.monotonic() - begun


@contextlib.asynccontextmanager
async def asking_meanwhile(port: int) -> AsyncIterator[list[float]]:
    """The seconds of trivial requests, one after the other."""
    took: list[float] = []

    async def go_on() -> None:
        while True:
            took.append(await trivial(port))
            await asyncio.sleep(0.05)

    asking = asyncio.create_task(go_on())
    try:
        yield took
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking


async def many(count: int, one: Callable[[], Awaitable[Any]]) -> list[Any]:
    """*count* calls of *one*, some at a time."""
    few = asyncio.Semaphore(AT_ONCE)

    async def next_one() -> Any:
        async with few:
            return await one()

    return await asyncio.gather(*(next_one() for _ in range(count)))


def told(name: str, took: list[float], more: str) -> float:
    """Prints what was seen; gives the seconds in which 99 of 100 trivial requests were answered."""
    took.sort()
    p99 = took[int(len(took) * 0.99)]
    print(f"{name}: trivial requests {len(took)}, median {1000 * took[len(took) // 2]:.0f} ms, "
          f"p99 {1000 * p99:.0f} ms, slowest {1000 * took[-1]:.0f} ms; {more}", flush=True)
    return p99


async def idle_streams(port: int, pid: int, count: int) -> None:
    """Streams that have begun, and say no more."""
    message = {"pieces": ["begun"], "hold": True, "mark": "idle"}
    before, begun = resident(pid), time.monotonic()
    async with asking_meanwhile(port) as while_coming:
        opened = await many(count, lambda: ask(port, message))
    assert Counter(status for status, _, _ in opened) == {200: count}
    seconds = time.monotonic() - begun
    async with asking_meanwhile(port) as took:
        await asyncio.sleep(20)
    memory = (resident(pid) - before) / count / 1024
    for _, _, (_, writer) in opened:
        writer.close()
    told(f"{count} idle streams come", while_coming, f"all there after {seconds:.0f} s")
    assert told(f"{count} idle streams", took, f"{memory:.0f} KiB each") < TRIVIAL


async def slow_readers(port: int, pid: int, count: int) -> None:
    """Streams of which a few kilobytes a second are read; they would last for minutes."""
    message = {"pieces": ["x" * 1000] * 300, "mark": "slow"}
    before = resident(pid)
    opened = await many(count, lambda: ask(port, message, buffer=4096))

    async def sip(reader: asyncio.StreamReader) -> None:
        while await reader.read(4096):
            await asyncio.sleep(1)

    sipping = [asyncio.create_task(sip(reader)) for _, _, (reader, _) in opened]
    async with asking_meanwhile(port) as took:
        await asyncio.sleep(30)
    memory = (resident(pid) - before) / count / 1024
    still = sum(not task.done() for task in sipping)
    for task in sipping:
        task.cancel()
    for _, _, (_, writer) in opened:
        writer.close()
    assert told(f"{count} slow readers", took, f"{memory:.0f} KiB each, {still} still reading") < TRIVIAL


async def five_times_the_load(port: int) -> None:
    """More turns than the service takes: those it takes are answered, the others told to come again."""
    message = {"pieces": ["a", "b", "c"], "pace": 0.1, "mark": "load"}
    seen: Counter[int] = Counter()
    until = time.monotonic() + 15

    async def client() -> None:
        while time.monotonic() < until:
            status, head, (reader, writer) = await ask(port, message)
            seen[status] += 1
            assert status in (200, 503), head
            if status == 503:
                assert b"retry-after: " in head.lower()
                await asyncio.sleep(0.1)
            else:
                body = await reader.readuntil(b"0\r\n\r\n")
                assert body.count(b'"is_completion":true') == 1
            writer.close()

    health: list[float] = []

    async def look() -> None:
        while time.monotonic() < until:
            begun = time.monotonic()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b" 200 " in await reader.readline()
            writer.close()
            health.append(time.monotonic() - begun)
            await asyncio.sleep(0.05)

    await asyncio.gather(look(), *(client() for _ in range(5 * MOST_TURNS)))
    assert seen[200]
    assert seen[503]
    assert told("five times the load", health, f"{seen[200]} turns answered, {seen[503]} refused") < TRIVIAL


def main() -> None:
    """Each in a service of its own."""
    numbers = [int(each) for each in sys.argv[1:]]
    idle, slow = [*numbers, *(IDLE, SLOW)[len(numbers):]]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        given = {"MAX_TURNS": str(max(idle, slow) + 100), "LOGLEVEL": "ERROR"}
        with serve("asynchronous", Path(folder), SERVICE, **given) as server:
            asyncio.run(idle_streams(server.port, server.process.pid, idle))
        with serve("asynchronous", Path(folder), SERVICE, **given) as server:
            asyncio.run(slow_readers(server.port, server.process.pid, slow))
        given["MAX_TURNS"] = str(MOST_TURNS)
        with serve("asynchronous", Path(folder), SERVICE, **given) as server:
            asyncio.run(five_times_the_load(server.port))


if __name__ == "__main__":
    main()
