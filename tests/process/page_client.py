"""A browser's side of the chat page without a browser: its sockets and its requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import socketio  # type: ignore[import-untyped]
from tests.process import rawhttp
from tests.process.server import Server, start
from tests.process.serving import APPS, free_port, settings

_T = TypeVar("_T")
JSON = {"Content-Type": "application/json"}
LOCAL_HOST = "localhost"
FOREIGN_HOST = "page.example"
"""A Host under which even this machine's peer is a visitor."""

Event = tuple[str, Any]


class _Loop:
    """One event loop in a thread, for all sockets of the tests."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def do(self, work: Coroutine[Any, Any, _T], timeout: float = 30) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)


_running: list[_Loop] = []


def _loop() -> _Loop:
    if not _running:
        _running.append(_Loop())
    return _running[0]


class Refused(Exception):
    """The page did not accept the socket."""


class Browser:
    """Somebody with cookies of his own."""

    def __init__(self, port: int, host: str = LOCAL_HOST, headers: Mapping[str, str] = {}) -> None:
        self.port = port
        self.host = f"{host}:{port}"
        self.headers = dict(headers)
        self.cookies: dict[str, str] = {}

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}, timeout: float = 15
    ) -> rawhttp.Answer:
        """One request; *body* is sent as JSON, bytes as they are."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {**self._headers(), **({} if body is None else JSON), **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
        if body is not None:
            lines.append(f"Content-Length: {len(data)}")
        with rawhttp.Client(self.port, timeout) as client:
            client.send("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
            response = client.head()
            body_sent = b"" if method == "HEAD" else response.read()
        answer = rawhttp.Answer(response.status, response.getheaders(), body_sent)
        for name, value in answer.headers:
            if name.lower() == "set-cookie":
                self.cookies.update({key: morsel.value for key, morsel in SimpleCookie(value).items()})
        return answer

    def enter(self) -> Browser:
        """Loads the page, and so becomes known to it."""
        assert self.request("GET", "/").status == 200
        return self

    def log_in(self, name: str, password: str) -> rawhttp.Answer:
        """Posts the form of the login page."""
        body = f"username={name}&password={password}".encode()
        return self.request("POST", "/login", body, {"Content-Type": "application/x-www-form-urlencoded"})

    def threads(self, search: str = "") -> list[Any]:
        """What the side bar lists."""
        asked = {"pagination": {"first": 35}, "filter": {"search": search} if search else {}}
        answer = self.request("POST", "/project/threads", asked)
        assert answer.status == 200, answer.body
        found: list[Any] = answer.json["data"]
        return found

    def thread(self, thread_id: str) -> rawhttp.Answer:
        """One conversation."""
        return self.request("GET", f"/project/thread/{thread_id}")

    def connect(self, **options: Any) -> Chat:
        """Opens a socket and says hello, as the page does; see :class:`Chat`."""
        return Chat(self, **options)

    def _headers(self) -> dict[str, str]:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"Host": self.host, **({"Cookie": cookie} if cookie else {}), **self.headers}


class Chat:
    """A socket of the page.

    :param thread_id: the conversation that is to be opened.
    :param session_id: Chainlit's; one that it knows goes on.
    :param hello: False: says nothing after the connection is there.
    :raises Refused: it was not accepted.
    """

    def __init__(
        self,
        browser: Browser,
        thread_id: Any = None,
        session_id: Any = None,
        *,
        transport: str = "websocket",
        hello: bool = True,
        auth: Mapping[str, Any] = {},
        headers: Mapping[str, str] = {},
    ) -> None:
        self.browser = browser
        self.session_id = session_id or str(uuid.uuid4())
        self.events: list[Event] = []
        self.closed = threading.Event()
        self._changed = threading.Condition()
        self._decided = threading.Event()
        self._accepted = False
        given = {
            "clientType": "webapp",
            "sessionId": self.session_id,
            "threadId": thread_id,
            "userEnv": "{}",
            "chatProfile": "",
            **auth,
        }
        try:
            _loop().do(self._connect({**browser._headers(), **headers}, given, transport))
            assert self._decided.wait(15), "neither accepted nor refused"
        except Exception as error:  # the client has a different one for each way to be refused
            self.close()
            raise Refused(str(error)) from None
        if not self._accepted:
            self.close()
            raise Refused("by the page")
        if hello:
            self.emit("connection_successful")

    async def _connect(self, headers: Mapping[str, str], auth: Mapping[str, Any], transport: str) -> None:
        # Headers of a session go out with every request of it, not with the first alone.
        self._http = aiohttp.ClientSession(headers=headers)
        self._client = socketio.AsyncClient(reconnection=False, http_session=self._http)
        self._client.on("*", self._keep)
        self._client.on("connect", self._let_in)
        self._client.on("connect_error", self._kept_out)
        self._client.on("disconnect", self._left)
        url = f"http://127.0.0.1:{self.browser.port}"
        await self._client.connect(
            url, auth=auth, transports=[transport], socketio_path="/ws/socket.io", wait=False
        )

    async def _let_in(self) -> None:
        self._accepted = True
        self._decided.set()

    async def _kept_out(self, *_: Any) -> None:
        self._decided.set()

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _keep(self, event: str, data: Any = None) -> None:
        with self._changed:
            self.events.append((event, data))
            self._changed.notify_all()

    async def _left(self, *_: Any) -> None:
        self.closed.set()
        with self._changed:
            self._changed.notify_all()

    # Saying

    def emit(self, event: str, data: Any = None) -> None:
        """Sends an event of any kind."""
        _loop().do(self._client.emit(event, data))

    def say(self, words: Any, message_id: Any = None, **members: Any) -> str:
        """Sends a message, as the page does; its id."""
        message_id = message_id or str(uuid.uuid4())
        message = {
            "id": message_id,
            "threadId": "",
            "name": "User",
            "type": "user_message",
            "output": words,
            "createdAt": "2026-01-01T00:00:00.000Z",
            **members,
        }
        self.emit("client_message", {"message": message, "fileReferences": []})
        return str(message_id)

    def do(self, do: str, **members: Any) -> str:
        """Tells the scripted component what to do."""
        return self.say(json.dumps({"do": do, **members}))

    def ask(self, words: str, timeout: float = 15) -> str:
        """Sends a message and waits for its end; the answer's text."""
        return self.answer(self.say(words), timeout)

    def ask_with(self, words: str, **members: Any) -> str:
        """:meth:`ask`, with further members of the message."""
        return self.answer(self.say(words, **members))

    def close(self) -> None:
        """Leaves."""
        _loop().do(self._leave())

    async def _leave(self) -> None:
        if self._accepted:
            with contextlib.suppress(Exception):  # it may be gone already
                await asyncio.wait_for(self._client.disconnect(), 0.5)
        await self._http.close()

    # Seeing

    def wait(self, seen: Callable[[list[Event]], _T], timeout: float = 15) -> _T:
        """The first true value of *seen(events)*.

        :raises AssertionError: there is none in *timeout* seconds, or the socket was closed.
        """
        with self._changed:
            value = seen(self.events)
            while not value:
                woken = self._changed.wait(timeout)
                value = seen(self.events)
                assert value or (woken and not self.closed.is_set()), self.events[-10:]
        return value

    def wait_for(self, event: str, timeout: float = 15) -> Any:
        """The data of the first event of this name."""
        return self.wait(lambda events: [(data,) for name, data in events if name == event], timeout)[0][0]

    def ended(self, message_id: str) -> bool:
        """Whether the run that answers this message was shown as ended: it is durable then."""
        return any(
            step["end"]
            for name, step in self.events
            if name == "update_message" and step["type"] == "run" and step["parentId"] == message_id
        )

    def answer(self, message_id: str, timeout: float = 15) -> str:
        """Waits for the end of the run that answers this message; its text as it is shown."""
        self.wait(lambda _: self.ended(message_id), timeout)
        return self.text(message_id)

    def text(self, message_id: str) -> str:
        """What is shown of the answer so far, errors included."""
        run = next(
            (
                step["id"]
                for _, step in self.events
                if isinstance(step, dict) and step.get("parentId") == message_id
            ),
            "",
        )
        shown: dict[str, str] = {}
        for name, data in self.events:
            if name in {"new_message", "stream_start", "update_message"} and data["parentId"] == run:
                shown[data["id"]] = data["output"]
            elif name == "stream_token" and data["id"] in shown:
                shown[data["id"]] += data["token"]
        return "".join(shown.values())

    def errors(self) -> list[str]:
        """The errors that were shown."""
        return [step["output"] for name, step in self.events if name == "new_message" and step["isError"]]

    @property
    def thread_id(self) -> str:
        """The conversation, once something was said in it."""
        return str(self.wait_for("first_interaction")["thread_id"])


class PageServer(Server):
    """A process that serves a page, and a probe into its component."""

    probe_port = 0

    def __enter__(self) -> PageServer:
        return self

    def browser(self, host: str = LOCAL_HOST, **options: Any) -> Browser:
        """Somebody new."""
        return Browser(self.port, host, **options)

    def visitor(self) -> Browser:
        """Somebody new who is not the local user, and is known by a cookie."""
        return self.browser(FOREIGN_HOST).enter()

    def probe(self, mark: str = "") -> Any:
        """What the component has seen under *mark*."""
        return rawhttp.get(self.probe_port, f"/probe?mark={mark}").json

    def open_gate(self, mark: str) -> None:
        """Lets a turn go on that waits at its gate."""
        assert rawhttp.get(self.probe_port, f"/open?mark={mark}").status == 200


def serve(
    folder: Path,
    program: str = "page",
    *,
    page: Mapping[str, Any] = {},
    port: int | None = None,
    env: Mapping[str, str] = {},
    prefix: tuple[str, ...] = (),
    ready: str | None = "/health",
    **given: str,
) -> PageServer:
    """A page in a process of its own; *given* are settings."""
    import sys

    probe_port = free_port()
    page_port = port or _other_port(probe_port)
    own = {
        "PROBE": str(probe_port),
        "PAGE": json.dumps(page),
        "XDG_STATE_HOME": f"{folder}/state",
        "XDG_CACHE_HOME": f"{folder}/cache",
        **settings(folder, **given),
        **env,
    }
    command = [*prefix, sys.executable, "-m", f"{APPS}.{program}"]
    started = start(folder, command, port=page_port, env=own, ready=ready)
    server = PageServer(started.process, page_port, folder, started._log)
    server.probe_port = probe_port
    return server


def _other_port(taken: int) -> int:
    import socket

    for port in range(taken + 1, 32000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no port is free")


@contextlib.contextmanager
def several(browser: Browser, count: int) -> Iterator[list[Chat]]:
    """Some sockets of one browser."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(browser.connect()) for _ in range(count)]
