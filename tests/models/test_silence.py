"""What arrives is no progress: a server that says nothing of an answer is silent, whatever else it sends."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from appbuilder import AppBuilderClient, Message, Playground, clock
from appbuilder.errors import ModelRejected, ModelTimeout
from appbuilder.models.base import ModelCall
from appbuilder.models.openai import OpenAIModel
from appbuilder.models.timeouts import Patience
from appbuilder.settings import Settings
from appbuilder.testing import AppDouble, AppReply, GatewayDouble, OpenAIDouble, Reply
from appbuilder.testing.server import Exchange

DEADLINE = 0.2
BOUND = 5.0
"""Seconds; without a deadline each of these would last for ever."""
HELLO = Message("你好")


def event(delta: Any, **more: Any) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], **more}
    return f"data: {json.dumps(chunk)}\n\n".encode()


USAGE = {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
NOISES = {
    "comments": b": ping\n\n",
    "blank lines": b"\n",
    "a byte of a line": b"d",
    "events without data": b"event: ping\nid: 1\n\n",
    "empty pieces": event({"content": ""}),
    "null pieces": event({"content": None}),
    "roles": event({"role": "assistant", "content": ""}),
    "no choices": b'data: {"choices": []}\n\n',
    "blanks": event({"content": " \n"}),
    "usage": event({}, **USAGE),
    "empty thoughts": event({"reasoning_content": ""}),
    "empty calls": event({"tool_calls": []}),
    "another answer": b'data: {"choices": [{"index": 1, "delta": {"content": "x"}}]}\n\n',
}


@pytest.fixture(autouse=True)
def deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPBUILDER_MODEL_TIMEOUT", str(DEADLINE))


def timed_out(work: Callable[[], Any]) -> None:
    before = clock.monotonic()
    with pytest.raises(ModelTimeout):
        work()
    assert clock.monotonic() - before < BOUND


def ask(model: str, stream: bool) -> None:
    for _ in Playground(model=model).run(HELLO, stream=stream).content or ():
        pass


@pytest.mark.parametrize("silent_after", [0, 1], ids=["before", "between"])
@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_noise_of_an_openai_server(openai_server: OpenAIDouble, noise: bytes, silent_after: int) -> None:
    openai_server.default = Reply(["一", "二"], silent_after=silent_after, noise=noise)
    timed_out(lambda: ask("openai/m", stream=True))
    openai_server.wait_for_left()
    assert len(openai_server.requests) == 1  # and it is not asked again


@pytest.mark.parametrize(
    "noise", [b": ping\n\n", b'data: {"answer": ""}\n\n', b'data: {"answer": " "}\n\n', b":"]
)
@pytest.mark.parametrize("silent_after", [0, 1])
def test_noise_of_a_gateway(gateway: GatewayDouble, noise: bytes, silent_after: int) -> None:
    gateway.default = Reply(["一", "二"], silent_after=silent_after, noise=noise)
    timed_out(lambda: ask("eb-4", stream=True))
    gateway.wait_for_left()


@pytest.mark.parametrize("model", ["eb-4", "openai/m"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_header_byte_by_byte(request: pytest.FixtureRequest, model: str, stream: bool) -> None:
    double = request.getfixturevalue("gateway" if model == "eb-4" else "openai_server")
    double.default = Reply(hang=True, noise=b"x")
    timed_out(lambda: ask(model, stream))
    double.wait_for_left()


class Dribble(GatewayDouble):
    """Answers with a whole answer, a byte at a time."""

    status = 200

    def _answer_call(self, exchange: Any, reply: Reply) -> None:
        body = b" " * 1_000_000
        exchange.begin(Reply(status=self.status), "application/json", len(body))
        exchange.wait_until_disconnected(lambda: exchange.wfile.write(b" "))


@pytest.mark.parametrize("stream", [False, True])
def test_a_body_byte_by_byte(monkeypatch: pytest.MonkeyPatch, quick: None, stream: bool) -> None:
    with Dribble() as double:
        monkeypatch.setenv("GATEWAY_URL", double.address)
        monkeypatch.setenv("APPBUILDER_TOKEN", "t")
        timed_out(lambda: ask("eb-4", stream))
        double.wait_for_left()


def test_the_body_of_an_error_byte_by_byte(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    with Dribble() as double:
        double.status = 400
        monkeypatch.setenv("GATEWAY_URL", double.address)
        monkeypatch.setenv("APPBUILDER_TOKEN", "t")
        # What it says never comes; its status did.
        with pytest.raises(ModelRejected, match="400"):
            ask("eb-4", stream=False)
        double.wait_for_left()


APP_NOISES = {
    "comments": b": ping\n\n",
    "a byte": b":",
    "empty pieces": b'data: {"answer": ""}\n\n',
    "the same event": b'data: {"content": [{"event_type": "x", "event_status": "running"}]}\n\n',
}


@pytest.mark.parametrize("noise", APP_NOISES.values(), ids=APP_NOISES)
@pytest.mark.parametrize("silent_after", [0, 2])
def test_noise_of_an_application(app_server: AppDouble, noise: bytes, silent_after: int) -> None:
    client = AppBuilderClient("app-1")
    conversation = client.create_conversation()
    app_server.reply(AppReply(["一", "二"], silent_after=silent_after, noise=noise))
    timed_out(lambda: list(client.run(conversation, "q", stream=True).content))
    app_server.wait_for_left()


def test_events_of_an_application_are_progress(
    app_server: AppDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPBUILDER_MODEL_TIMEOUT", "1")
    client = AppBuilderClient("app-1")
    conversation = client.create_conversation()
    events = [{"event_type": "x", "event_id": str(n)} for n in range(6)]
    app_server.reply(AppReply(["一"], events=events, pace=0.25))
    answers = list(client.run(conversation, "q", stream=True).content)
    assert "".join(each.answer for each in answers) == "一"


def test_thinking_is_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that thinks for longer than the deadline, and then answers."""
    monkeypatch.setenv("APPBUILDER_MODEL_TIMEOUT", "1")

    class Thinker(OpenAIDouble):
        def _stream(self, exchange: Any, reply: Reply, body: Any) -> None:
            exchange.begin(reply, "text/event-stream")
            for thought in ["hm"] * 6:
                exchange.chunk(event({"reasoning_content": thought}))
                exchange.wait(threading.Event(), 0.25)
            exchange.chunk(event({"content": "done"}) + b"data: [DONE]\n\n")
            exchange.chunk(b"")

    with Thinker() as double:
        model = OpenAIModel("m", double.base_url, "", Settings.load())
        call = ModelCall("playground", {"query": "q"}, [{"role": "user", "content": "q"}], stream=True)
        assert "".join(delta.text for delta in model.open(call)) == "done"


def test_the_time_a_component_takes_is_not_the_servers(openai_server: OpenAIDouble) -> None:
    gate = threading.Event()
    openai_server.reply(Reply(["一", "二", "三"], gates={1: gate}))
    content = Playground(model="openai/m").run(HELLO, stream=True).content
    assert content is not None
    assert next(content) == "一"
    threading.Event().wait(DEADLINE * 1.5)
    gate.set()
    assert list(content) == ["二", "三"]


def test_a_file_may_take_its_time(
    app_server: AppDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file larger than what the sockets hold, sent to a server that reads it slowly."""
    monkeypatch.setenv("APPBUILDER_MODEL_TIMEOUT", "1")
    file = tmp_path / "f.bin"
    file.write_bytes(b"x" * 32_000_000)
    client = AppBuilderClient("app-1")
    conversation = client.create_conversation()
    read = Exchange.do_POST

    class Slow(io.RawIOBase):
        def __init__(self, source: Any) -> None:
            self.source = source

        def read(self, size: int = -1) -> bytes:
            data = b""
            while len(data) < size:
                threading.Event().wait(0.05)
                data += self.source.read(min(1_000_000, size - len(data)))
            return data

    def slowly(exchange: Exchange) -> None:
        source, exchange.rfile = exchange.rfile, Slow(exchange.rfile)  # type: ignore[assignment]
        read(exchange)
        exchange.rfile = source

    with mock.patch.object(Exchange, "do_POST", slowly):
        before = clock.monotonic()
        assert client.upload_local_file(conversation, str(file)) == "file-1"
        assert clock.monotonic() - before > 1


def test_tries_share_one_deadline(openai_server: OpenAIDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPBUILDER_MODEL_RETRIES", "100")
    monkeypatch.setenv("APPBUILDER_RETRY_BACKOFF", "0.05")
    openai_server.default = Reply(status=504)
    timed_out(lambda: ask("openai/m", stream=False))


def dribbled(answer: bytes, certificate: Path) -> Iterator[int]:
    """The port of a TLS server that answers one request, a byte of its records at a time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(into, out, server_side=True)

    def done(work: Callable[[], Any], client: socket.socket) -> None:
        while True:
            try:
                work()
            except ssl.SSLWantReadError:
                client.sendall(out.read())
                into.write(client.recv(4096))
            else:
                client.sendall(out.read())
                return

    def serve() -> None:
        client, _ = listening.accept()
        with client, contextlib.suppress(OSError):
            done(tls.do_handshake, client)
            done(lambda: tls.read(4096), client)
            tls.write(answer)
            for byte in out.read():
                client.send(bytes([byte]))
                if left.wait(0.05):
                    return

    left = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        left.set()
        thread.join()


@pytest.mark.parametrize(
    "patch", ["", "from gevent import monkey; monkey.patch_all()"], ids=["threads", "gevent"]
)
def test_a_record_of_tls_byte_by_byte(monkeypatch: pytest.MonkeyPatch, patch: str) -> None:
    certificate = Path(__file__).parent / "data" / "localhost.pem"
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Long: " + b"x" * 400 + b"\r\n\r\n"
    program = f"""
{patch}
import time
from appbuilder import Message, Playground
from appbuilder.errors import ModelTimeout
before = time.monotonic()
try:
    Playground(model="openai/m").run(Message("x"))
except ModelTimeout:
    print(time.monotonic() - before < {BOUND})
"""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with contextlib.contextmanager(dribbled)(answer, certificate) as port:
        monkeypatch.setenv("OPENAI_BASE_URL", f"https://localhost:{port}/v1")
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["True"], done.stderr


def test_under_gevent(openai_server: OpenAIDouble) -> None:
    openai_server.reply(Reply(["一", "二"], silent_after=1, noise=b": p\n\n"), Reply(hang=True, noise=b"x"))
    program = (
        "from gevent import monkey; monkey.patch_all()\n"
        "from appbuilder import Message, Playground\n"
        "from appbuilder.errors import ModelTimeout\n"
        "for stream in (True, False):\n"
        "    try:\n"
        "        list(Playground(model='openai/m').run(Message('x'), stream=stream).content)\n"
        "    except ModelTimeout:\n"
        "        print('late')\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["late", "late"], done.stderr
    openai_server.wait_for_left(2)


def test_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    patience = Patience(8)
    now[0] += 50  # nobody has waited yet
    assert patience.left() == 8
    now[0] += 3
    assert patience.left() == 5
    patience.pause()
    now[0] += 50
    assert patience.left() == 5
    patience.shorten(2)
    assert patience.left() == 2
    patience.renew()
    now[0] += 50
    assert patience.left() == 8
    now[0] += 9
    assert patience.left() == -1
    assert (patience, str(patience)) == (8.0, "8.0")

