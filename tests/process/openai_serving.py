"""The service of ``tests.process.apps.talking``, as the tests of the OpenAI API ask it."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.process.server import JSON_HEADERS, Reply, Server, start
from tests.process.serving import APPS, free_port, settings

MODEL = "Talking"
CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"


class Talking:
    """A running service."""

    def __init__(self, server: Server, probe: int) -> None:
        self.server = server
        self.base_url = f"http://127.0.0.1:{server.port}/v1"
        self._probe = Server(server.process, probe, server.folder, server.folder / "server.log")

    @property
    def calls(self) -> int:
        """How often the component was called."""
        count: int = self._probe.request("GET", "/probe").json()["all"]
        return count

    def open_gate(self, mark: str) -> None:
        """Opens the component's gate of this mark."""
        self._probe.request("GET", f"/open?mark={mark}")

    def closed(self, mark: str) -> int:
        """How many of the component's iterators of this mark were closed."""
        count: int = self._probe.request("GET", f"/probe?mark={mark}").json()["closed"]
        return count

    def ask(self, body: Any, path: str = CHAT, key: str = "", **headers: str) -> Reply:
        """POST; an object gets the model's name where it has none, other members of *headers* are headers."""
        return self.server.request("POST", path, _bytes(body), _headers(key, headers))

    @contextlib.contextmanager
    def stream(self, body: Any, path: str = CHAT, key: str = "", **headers: str) -> Iterator[Streaming]:
        """The same for a stream; leaving the block leaves the stream."""
        with contextlib.closing(self.server.open()) as connection:
            connection.request("POST", path, _bytes({"stream": True, **body}), _headers(key, headers))
            answer = connection.getresponse()
            with contextlib.closing(answer):
                yield Streaming(answer)

    def look(self, path: str, key: str = "") -> Reply:
        """GET."""
        return self.server.request("GET", path, None, _headers(key, {}))

    def say(self, *said: str, key: str = "", headers: Mapping[str, str] = {}, **members: Any) -> Told:
        """A chat completion; *said* are user and assistant in turn."""
        return Told(self.ask({"messages": dialogue(*said), **members}, CHAT, key, **headers))

    def respond(self, said: Any, key: str = "", **members: Any) -> Told:
        """A response."""
        return Told(self.ask({"input": said, **members}, RESPONSES, key))


class Streaming:
    """A stream that is being read."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.session = answer.getheader("X-Appbuilder-Session-Id")
        self._answer = answer

    def lines(self) -> Iterator[str]:
        """Its lines, comments too."""
        while line := self._answer.readline():
            yield line.decode().rstrip("\n")

    def events(self) -> Iterator[Any]:
        """The data of its events, as JSON but for [DONE]."""
        for line in self.lines():
            if line.startswith("data: "):
                yield line[6:] if line == "data: [DONE]" else json.loads(line[6:])


class Told:
    """A whole answer of the API: its text, and what the component tells in it."""

    def __init__(self, reply: Reply) -> None:
        assert reply.status == 200, (reply.status, reply.body[:500])
        self.session = {name.lower(): value for name, value in reply.headers.items()}.get(
            "x-appbuilder-session-id"
        )
        self.body = reply.json()
        self.text: str = (
            self.body["choices"][0]["message"]["content"]
            if "choices" in self.body
            else self.body["output"][0]["content"][0]["text"]
        )

    @property
    def told(self) -> Any:
        """The component's JSON."""
        return json.loads(self.text)

    @property
    def before(self) -> list[str]:
        """What was said before in the session, as the component remembers it."""
        return list(self.told["before"])


def dialogue(*said: str) -> list[dict[str, str]]:
    """Messages of user and assistant in turn."""
    return [{"role": "assistant" if at % 2 else "user", "content": text} for at, text in enumerate(said)]


def do(action: str, **members: Any) -> str:
    """A message that makes the component do this."""
    return json.dumps({"do": action, **members})


@contextlib.contextmanager
def talking(folder: Path, **given: str) -> Iterator[Talking]:
    """The service, in *folder*."""
    probe = free_port()
    env = settings(folder, **{"RETRY_BACKOFF": "0.01", "PAGE": "no", **given})
    command = [sys.executable, "-m", f"{APPS}.talking"]
    with start(
        folder,
        command,
        port=_another(probe),
        env={**env, "PROBE": str(probe)},
    ) as server:
        yield Talking(server, probe)


def _another(port: int) -> int:
    """A free port that is not *port*."""
    import socket

    with socket.create_server(("127.0.0.1", port)):
        return free_port()


def _bytes(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    return json.dumps({"model": MODEL, **body} if isinstance(body, Mapping) else body).encode()


def _headers(key: str, more: Mapping[str, str]) -> dict[str, str]:
    return {**JSON_HEADERS, **({"Authorization": f"Bearer {key}"} if key else {}), **more}
