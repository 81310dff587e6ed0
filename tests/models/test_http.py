"""The HTTP client: TLS, proxies, forks, many calls at once."""

from __future__ import annotations

import contextvars
import os
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from appbuilder import Message, Playground
from appbuilder.core.context import init_context
from appbuilder.errors import ModelUnavailable, TurnCancelled
from appbuilder.models import http_client
from appbuilder.settings import Settings
from appbuilder.testing import GatewayDouble, Reply

# Made for these tests (openssl req -x509, for localhost); nothing else trusts it.
CERTIFICATE = Path(__file__).parent / "data" / "localhost.pem"


@pytest.fixture
def new_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A client that reads the environment as it is now."""
    monkeypatch.setattr(http_client, "_clients", {})
    yield
    for client in http_client._clients.values():
        client.close()


@pytest.fixture
def tls_gateway(monkeypatch: pytest.MonkeyPatch, new_client: None) -> Iterator[GatewayDouble]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    double = GatewayDouble()
    listening = double._server.socket
    double._server.socket = context.wrap_socket(listening, server_side=True, do_handshake_on_connect=False)
    with double:
        monkeypatch.setenv("GATEWAY_URL", f"https://localhost:{double.port}")
        monkeypatch.setenv("APPBUILDER_TOKEN", "t")
        monkeypatch.setenv("APPBUILDER_MODEL_RETRIES", "0")
        yield double


def ask(text: str = "你好") -> str:
    return Playground(model="eb").run(Message(text)).content or ""


def test_tls(tls_gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    assert ask() == "你好"
    assert ask() == "你好"
    assert tls_gateway.connections == 1


def test_a_certificate_nobody_vouches_for(
    tls_gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with pytest.raises(ModelUnavailable, match="could not be reached"):
        ask()
    assert tls_gateway.requests == []


def test_cancel_over_tls(tls_gateway: GatewayDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))

    def run() -> None:
        context = init_context("s", "r")
        content = Playground(model="eb").run(Message("你好"), stream=True).content
        assert content is not None
        assert next(content) == "一"
        timer = threading.Timer(0.1, context.cancel_token.cancel)
        timer.start()
        with pytest.raises(TurnCancelled):
            next(content)
        timer.join()

    assert ask() == "你好"
    tls_gateway.reply(Reply(["一", "二"], silent_after=1))
    contextvars.copy_context().run(run)
    assert ask() == "你好"


def test_a_proxy_from_the_environment(
    gateway: GatewayDouble, new_client: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://user:pass@127.0.0.1:{gateway.port}")
    monkeypatch.setenv("APPBUILDER_MODEL_RETRIES", "0")
    # The double is no proxy; it is enough to see what one would have got.
    http_client.client().post("http://models.example/v1", json={})
    seen = gateway.requests[-1]
    assert seen.path == "http://models.example/v1"
    assert seen.headers["host"] == "models.example"
    assert seen.headers["proxy-authorization"].startswith("Basic ")
    # Loopback addresses need none.
    assert ask() == "你好"
    assert gateway.requests[-1].path.startswith("/rpc/")
    monkeypatch.setenv("no_proxy", "models.example")
    transport = http_client.client()._transport
    assert isinstance(transport, http_client._Transport)
    assert transport._proxy(httpx2.URL("http://models.example/")) == ""


def test_timeouts() -> None:
    settings = Settings(connect_timeout=1.0, model_timeout=2.0)
    assert http_client.timeouts(settings) == httpx2.Timeout(2.0, connect=1.0)
    assert http_client.timeouts(settings, 3.0) == httpx2.Timeout(3.0, connect=1.0)
    assert http_client.timeouts(settings, (4.0, 5.0)) == httpx2.Timeout(5.0, connect=4.0)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_makes_a_client_of_its_own(gateway: GatewayDouble) -> None:
    assert ask() == "你好"
    before = gateway.connections
    child = os.fork()
    if child == 0:  # no assertion may leave this branch
        status = 1
        try:
            status = 0 if ask() == "你好" else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert gateway.connections == before + 1
    assert ask() == "你好"
    assert gateway.connections == before + 1


def test_many_calls_at_the_same_time(gateway: GatewayDouble) -> None:
    gate = threading.Event()
    gateway.default = Reply(gates={0: gate})
    answers: list[str] = []
    threads = [threading.Thread(target=lambda n=n: answers.append(ask(str(n)))) for n in range(64)]
    for thread in threads:
        thread.start()
    # All are under way at once: nothing waits for a connection of another.
    gateway.wait_for_requests(64 + 1)
    while len(gateway.calls) < 64:
        gateway.wait_for_requests(len(gateway.requests) + 1)
    gate.set()
    for thread in threads:
        thread.join()
    assert sorted(answers, key=int) == [str(n) for n in range(64)]


def test_a_cookie_of_one_answer_is_sent_with_no_other_call(gateway: GatewayDouble) -> None:
    gateway.default = Reply(headers={"Set-Cookie": "user=one; Path=/"})
    assert ask() == ask() == "你好"
    assert gateway.requests
    assert all("cookie" not in seen.headers for seen in gateway.requests)
    # Components that call the gateway themselves share one session among all users, too.
    client = Playground(model="eb").http_client
    last = gateway.requests[-1]
    for _ in range(2):
        answer = client.session.post(
            gateway.address + last.path, json=last.body, headers=client.auth_header()
        )
        assert "Set-Cookie" in answer.headers
    assert "cookie" not in gateway.requests[-1].headers
