"""The seeds are notebooks: their cells run in a real kernel, and stop when they are interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from tests.process.server import Server, environment, free_port
from tests.process.talk import until

COMPONENT = '''
import time
from appbuilder.core.component import Component
from appbuilder import UserSession, Message

class WithHistory(Component):
    def __init__(self):
        super().__init__()

    def run(self, message: Message, stream: bool=False):
        user_session = UserSession()
        history = [old.content for old in user_session.get_history("query", limit=10)]
        pieces = self.pieces(message.content, history)
        answer = Message(pieces if stream else "".join(pieces))
        user_session.append({"query": message, "answer": answer})
        return answer

    def pieces(self, text, history):
        for word in [*history, text]:
            yield word + " "
            if text == "slow":
                time.sleep(0.1)

component_with_history = WithHistory()
print(component_with_history.run(Message("海淀区的面积是多少"), stream=False))
'''

RUNTIME = '''
import appbuilder
from appbuilder.utils.flask_deploy import FlaskRuntime
user_session_config = "sqlite:///foo.db"
agent = FlaskRuntime(
    component=component_with_history,
    user_session_config=user_session_config)
'''

TABLES = '''
import sqlite3
conn = sqlite3.connect("foo.db")
cursor = conn.cursor()
cursor.execute("SELECT name FROM sqlite_master WHERE type='table';")
print(cursor.fetchall())
conn.close()
'''


class Notebook:
    """A kernel in a folder of its own, on an event loop of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._notebook = nbformat.v4.new_notebook()
        where = {"metadata": {"path": str(folder)}}
        self._client = NotebookClient(self._notebook, timeout=60, resources=where)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Notebook:
        self._thread.start()
        self._do(self._start()).result(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._client._async_cleanup_kernel()).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def begin(self, source: str) -> Future[str]:
        """Runs a cell; the result is what it printed. An error in the cell is raised."""
        return self._do(self._run(source))

    def run(self, source: str) -> str:
        """Runs a cell to its end."""
        return self.begin(source).result(60)

    def interrupt(self) -> None:
        """The stop button."""

        async def interrupt() -> None:
            await self._client.km.interrupt_kernel()

        self._do(interrupt()).result(10)

    def _do(self, work: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _start(self) -> None:
        self._client.create_kernel_manager()
        await self._client.async_start_new_kernel(env=environment(), cwd=str(self.folder))
        await self._client.async_start_new_kernel_client()

    async def _run(self, source: str) -> str:
        self._notebook.cells.append(nbformat.v4.new_code_cell(source))
        cell = await self._client.async_execute_cell(
            self._notebook.cells[-1], len(self._notebook.cells) - 1, store_history=True
        )
        return "".join(output.text for output in cell.outputs if output.output_type == "stream")


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    with Notebook(tmp_path) as running:
        yield running


@contextlib.contextmanager
def served(notebook: Notebook, arguments: str, *, interrupt: bool = True) -> Iterator[Server]:
    """A cell with ``agent.serve(...)``, that runs meanwhile, and is then interrupted."""
    port = free_port()
    cell = notebook.begin(f"agent.serve(host='127.0.0.1', port={port}{arguments})")
    server = Address(port)
    until(lambda: _answers(server, cell), timeout=30)
    yield server
    if interrupt:
        notebook.interrupt()
    printed = cell.result(30)
    assert "Traceback" not in printed
    assert printed.count("serving on") == 1
    with pytest.raises(OSError, match="refused"):
        server.connect()


class Address(Server):
    """A server that is not a process of ours: it can be asked."""

    def __init__(self, port: int) -> None:
        self.port = port


def _answers(server: Server, cell: Future[str]) -> bool:
    if cell.done():
        raise AssertionError(f"the cell ended: {cell.result()}")
    with contextlib.suppress(OSError):
        return server.request("GET", "/health").status == 200
    return False


def test_the_seeds_cells(notebook: Notebook) -> None:
    assert "海淀区的面积是多少" in notebook.run(COMPONENT)
    notebook.run(RUNTIME)
    chat = "print(agent.chat(appbuilder.Message('你好'), stream=False).content)"
    # Outside of a session it remembers, in memory, what was said before in this thread.
    assert notebook.run(chat) == "海淀区的面积是多少 你好 \n"
    streamed = "for piece in agent.chat(appbuilder.Message('你好'), stream=True).content: print(piece)"
    assert notebook.run(streamed).split() == ["海淀区的面积是多少", "你好", "你好"]

    with served(notebook, "") as server:  # debug=True, as in the seed
        assert server.chat("a", session_id="s").content == "a "
        failed = server.chat("a", wrong=1)
        assert failed.status == 400
        assert server.request("GET", "/console").status == 404
    assert notebook.run("print(1 + 1)") == "2\n"

    with served(notebook, ", debug=False") as server, server.stream("b", session_id="s") as events:
        assert events.texts == ["a ", "b ", ""]
    assert notebook.run(TABLES) == "[('appbuilder_session_messages',)]\n"


def test_interrupting_lets_the_running_turn_finish(notebook: Notebook) -> None:
    notebook.run(COMPONENT + RUNTIME)
    with served(notebook, ", debug=False", interrupt=False) as server:
        for text in "abcdefgh":
            server.chat(text, session_id="s")
        with server.stream("slow", session_id="s") as events:
            next(events)
            notebook.interrupt()
            assert "".join(events.texts) == "b c d e f g h slow "
    with contextlib.closing(sqlite3.connect(notebook.folder / "foo.db")) as database:
        query = "SELECT count(*) FROM appbuilder_session_messages WHERE message_key = 'answer'"
        assert database.execute(query).fetchone() == (9,)
