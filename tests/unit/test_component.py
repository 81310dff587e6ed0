from __future__ import annotations

import asyncio
import threading
from typing import Any, ClassVar

import pytest

from appbuilder.core import context
from appbuilder.core.component import Component, as_answer, entry
from appbuilder.core.context import _LOCAL_KEY, context_var, get_context, init_context
from appbuilder.core.message import Message
from appbuilder.errors import ComponentError, ConfigurationError, Unauthenticated


class Echo(Component):
    manifests: ClassVar[list[dict[str, Any]]] = [{"name": "echo", "description": "回声"}]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        return Message(f"{message.content}!")


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APPBUILDER_TOKEN", "GATEWAY_URL"):
        monkeypatch.delenv(name, raising=False)


def test_no_token_is_needed_to_make_one() -> None:
    """The SDK fails here."""
    assert Echo().run(Message("hi")).content == "hi!"
    assert Echo()(Message("hi")).content == "hi!"


def test_a_subclass_that_forgets_super_init_works() -> None:
    class Forgetful(Component):
        def __init__(self) -> None:
            self.own = 1

        def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
            return message

    component = Forgetful()
    assert component.lazy_certification is False
    assert component.http_client.service_url("/x") == "https://appbuilder.baidu.com/rpc/2.0/cloud_hub/x"


def test_batch_and_its_asynchronous_sisters() -> None:
    messages = [Message(str(n)) for n in range(5)]
    assert [m.content for m in Echo().batch(*messages)] == ["0!", "1!", "2!", "3!", "4!"]
    assert [m.content for m in asyncio.run(Echo().abatch(*messages))] == ["0!", "1!", "2!", "3!", "4!"]


def test_tool_names_and_descriptions() -> None:
    assert Echo().tool_name() == ["echo"]
    assert Echo().tool_desc() == ['{"name": "echo", "description": "回声"}']
    with pytest.raises(NotImplementedError):
        Echo().tool_eval()
    with pytest.raises(NotImplementedError, match="Component does not implement run"):
        Component().run()


def test_what_answers_a_message_and_whether_it_is_awaited() -> None:
    class Awaiting(Component):
        async def arun(self, message: Message[Any], stream: bool = False) -> Message[Any]:
            return message

    class Both(Awaiting):
        def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
            return message

    class AwaitedRun:
        async def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
            return message

    class GeneratedRun:
        async def run(self, message: Message[Any], stream: bool = False) -> Any:
            yield message.content

    for made, name, awaited in [
        (Echo, "run", False), (Awaiting, "arun", True), (Both, "run", False), (AwaitedRun, "run", True),
        (GeneratedRun, "run", True),
    ]:
        component = made()
        assert entry(component) == (getattr(component, name), awaited)
    with pytest.raises(ConfigurationError):
        entry(object())


def test_what_a_component_returned_as_a_message() -> None:
    async def forgotten() -> None: ...

    message = Message("a")
    assert as_answer(message) is message
    assert as_answer("text").content == "text"
    for nothing in (None, forgotten()):
        with pytest.raises(ComponentError):
            as_answer(nothing)


def test_headers_carry_the_components_own_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Echo(secret_key="mine").http_client.auth_header()["X-Appbuilder-Authorization"] == "Bearer mine"
    monkeypatch.setenv("APPBUILDER_TOKEN", "Bearer ours")
    headers = Echo().http_client.auth_header("call-1")
    assert headers["X-Appbuilder-Authorization"] == "Bearer ours"
    assert headers["X-Appbuilder-Request-Id"] == headers["X-Bce-Request-Id"] == "call-1"


def test_without_any_credential_the_error_comes_when_it_is_used() -> None:
    client = Echo().http_client
    with pytest.raises(ConfigurationError, match="APPBUILDER_TOKEN"):
        client.auth_header()


def test_gateway_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Echo(gateway="gw.example/").http_client.service_url("/v1/a") == (
        "https://gw.example/rpc/2.0/cloud_hub/v1/a")
    monkeypatch.setenv("GATEWAY_URL", "http://127.0.0.1:1")
    assert Echo().http_client.service_url("/a", "/prefix") == "http://127.0.0.1:1/prefix/a"


def in_request(credential: str | None) -> None:
    made = init_context("s", "r")
    made.store = object()  # type: ignore[assignment]
    made.credential = credential


def test_lazy_certification_takes_the_requests_credential_and_no_other() -> None:
    """The SDK writes it on the shared component, so that one user's token serves another."""
    component = Echo(lazy_certification=True, secret_key="the service's own")
    barrier = threading.Barrier(8)
    seen: dict[str, str] = {}

    def request(token: str) -> None:
        in_request(token)
        barrier.wait()
        seen[token] = component.http_client.auth_header()["X-Appbuilder-Authorization"]

    threads = [threading.Thread(target=request, args=(f"token-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {f"token-{n}": f"Bearer token-{n}" for n in range(8)}


def test_lazy_certification_never_falls_back_to_the_services_credential() -> None:
    def run() -> None:
        in_request(None)
        with pytest.raises(Unauthenticated):
            Echo(lazy_certification=True, secret_key="the service's own").credential()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def test_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> None:
        assert context.current_context() is None
        local = get_context()
        assert local.session_id.startswith(_LOCAL_KEY)
        assert len(local.session_id) == 36
        assert local is get_context()
        assert local.is_local
        made = init_context(session_id="s", request_id="r", user_id="u")
        assert (made.session_id, made.request_id, made.user_id) == ("s", "r", "u")
        assert made.session_vars_dict == {}
        assert context_var.get() is made is get_context()
        assert not made.is_local
        in_request(None)
        assert not get_context().is_local

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
