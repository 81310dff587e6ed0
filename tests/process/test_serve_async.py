"""Components that have ``arun`` alone, in real processes: one event loop beside threads, or beside gevent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.process.server import Server, start_gunicorn, start_program
from tests.process.talk import rows, until

COMPONENT = '''
import asyncio, contextvars, logging, os, time
from appbuilder import Component, Message, UserSession
from appbuilder.core.context import get_context
from appbuilder.utils.flask_deploy import FlaskRuntime

said = contextvars.ContextVar("said")
closed = []

class Talk(Component):
    async def arun(self, message, stream=False, how="", n=5, wait=0.0):
        said.set(message.content)
        session = UserSession()
        session.append({"query": message})
        if how == "history":
            return Message([old.content for old in session.get_history("query")])
        if how == "thread":
            return Message(await asyncio.to_thread(self.blocking, session))
        if how == "address":
            found = await asyncio.get_running_loop().getaddrinfo("localhost", 80)
            return Message(sorted({address[0] for *_, address in found}))
        if how == "connection":
            return Message(await self.connection())
        if how == "fail":
            raise RuntimeError("on purpose")
        if how == "closed":
            return Message(list(closed))
        if not stream:
            await asyncio.sleep(wait)
            logging.getLogger("talk").info("answering")
            return Message(f"{message.content} {said.get()}")
        answer = Message(self.pieces(message.content, n, wait, how))
        session.append({"answer": answer})
        return answer

    def blocking(self, session):
        time.sleep(0.3)
        return [said.get(), get_context().session_id, len(session.get_history("query"))]

    async def connection(self):
        async def greet(reader, writer):
            writer.write(b"hello " + await reader.readline())
            await writer.drain()
            writer.close()
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"there\\n")
            greeting = await reader.read()
            writer.close()
        return greeting.decode()

    async def pieces(self, text, n, wait, how):
        try:
            for number in range(n):
                await asyncio.sleep(wait)
                if how == "fail later" and number == 2:
                    raise RuntimeError("on purpose")
                assert said.get() == text
                logging.getLogger("talk").info("a piece")
                yield f"{text}{number} "
        finally:
            closed.append(text)

class Mixed(Talk):
    """A synchronous run whose pieces come from an asynchronous generator."""
    def run(self, message, stream=False):
        said.set(message.content)
        return Message(self.pieces(message.content, 5, 0.01, ""))

logging.basicConfig(level=logging.WARNING)
logging.getLogger("talk").setLevel(logging.INFO)
kind = Mixed if os.environ.get("MIXED") else Talk
runtime = FlaskRuntime(kind(), "sqlite:///talk.db")
'''

APP = COMPONENT + "app = runtime.create_flask_app()\n"
SERVE = COMPONENT + "runtime.serve(host='127.0.0.1', port=int(os.environ['PORT']), debug=False)\n"
PATCHED = "from gevent import monkey; monkey.patch_all()\n" + SERVE
ENV = {"APPBUILDER_HEARTBEAT": "0.2"}


def _start(kind: str, tmp: pytest.TempPathFactory, **env: str) -> Server:
    folder = tmp.mktemp("async")
    env = {**ENV, **env}
    if kind == "serve gthread":
        return start_program(folder, SERVE, env=env)
    if kind == "serve gevent, patched early":
        return start_program(folder, PATCHED, env=env)
    return start_gunicorn(folder, APP, *kind.split()[1:], env=env)


KINDS = (
    "serve gthread", "serve gevent, patched early", "gunicorn -k gevent", "gunicorn -k gevent --preload"
)


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with _start(request.param, tmp_path_factory) as running:
        yield running


def test_it_answers_whole_and_streamed(server: Server) -> None:
    assert server.chat("a").content == "a a"
    with server.stream("b", n=3) as events:
        assert events.texts == ["b0 ", "b1 ", "b2 ", ""]


def test_history_is_read_on_the_loop_and_off_it(server: Server) -> None:
    for text in ("a", "b"):
        server.chat(text, session_id="h")
    assert server.chat("c", session_id="h", how="history").content == ["a", "b"]
    assert server.chat("d", session_id="h", how="thread").content == ["d", "h", 3]


def test_names_and_connections(server: Server) -> None:
    assert "127.0.0.1" in server.chat("a", how="address").content
    assert server.chat("a", how="connection").content == "hello there\n"


def test_it_fails(server: Server) -> None:
    assert server.chat("a", how="fail").status == 500
    with server.stream("a", how="fail") as events:
        assert events.status == 500
    with server.stream("a", how="fail later", wait=0.05) as events:
        assert [event["code"] for event in events] == [0, 0, 500]


def test_many_at_the_same_time(server: Server) -> None:
    def whole(number: int) -> bool:
        return bool(server.chat(f"m{number}", wait=0.5).content == f"m{number} m{number}")

    def streamed(number: int) -> bool:
        with server.stream(f"s{number}", n=20, wait=0.02) as events:
            return "".join(events.texts) == "".join(f"s{number}{piece} " for piece in range(20))

    def fast(number: int) -> bool:
        with server.stream(f"f{number}", n=500) as events:
            return "".join(events.texts) == "".join(f"f{number}{piece} " for piece in range(500))

    def in_threads(number: int) -> bool:
        found = server.chat(f"t{number}", session_id=f"t{number}", how="thread").content
        return bool(found == [f"t{number}", f"t{number}", 0])

    with ThreadPoolExecutor(32) as pool:
        for work in (whole, streamed, fast, in_threads):
            begun = time.monotonic()
            assert all(pool.map(work, range(32))), work.__name__
            assert time.monotonic() - begun < 8, work.__name__
    assert "LoopExit" not in server.log


@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_who_leaves_ends_the_turn(server: Server, how: str) -> None:
    text = f"left by {how} "
    with server.stream(text, n=10_000, wait=0.02) as events:
        next(events)
        if how == "RST":
            events.reset()
    until(lambda: text in server.chat("a", how="closed").content)
    until(lambda: any(text in content for content, _ in rows(server.folder, "answer")))
    [(_, state)] = [row for row in rows(server.folder, "answer") if text in row[0]]
    assert state == "incomplete"


@pytest.mark.parametrize("kind", ["serve gthread", "gunicorn -k gevent"])
def test_an_asynchronous_generator_from_a_synchronous_run(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with _start(kind, tmp_path_factory, MIXED="1") as server:
        assert server.chat("a").content == "a0 a1 a2 a3 a4 "
        with ThreadPoolExecutor(8) as pool:
            for number, texts in enumerate(pool.map(lambda number: _stream(server, number), range(8))):
                assert "".join(texts) == "".join(f"{number}-{piece} " for piece in range(5))
        assert "Traceback" not in server.log


def _stream(server: Server, number: int) -> list[str]:
    with server.stream(f"{number}-") as events:
        return events.texts


@pytest.mark.parametrize("kind", ["serve gthread", "serve gevent, patched early"])
def test_sigterm_marks_what_does_not_finish(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    with _start(kind, tmp_path_factory, APPBUILDER_DRAIN_TIMEOUT="0.5") as server:
        with server.stream("a", n=1000, wait=0.1) as events:
            next(events)
            server.process.terminate()
            assert list(events)[-1]["code"] == 503
        assert server.wait() == 0
    [(_, state)] = rows(server.folder, "answer")
    assert state == "incomplete"
