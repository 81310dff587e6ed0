"""Functions of the program's own: whose a request is, and whether a turn may begin."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from typing import Any

import pytest
from tests.unit.callers import MemoryKeys, asking, authenticator, bearer, documented, identified
from tests.unit.tokens import AUDIENCE, ISSUER, key_set, signing_key

from appbuilder.errors import (
    ConfigurationError,
    Forbidden,
    ServiceUnavailable,
    Unauthenticated,
)
from appbuilder.serve.auth.identity_hook import HookRequest, HookUser
from appbuilder.serve.auth.request_info import Identity
from appbuilder.serve.http import user_hooks
from appbuilder.serve.http.user_hooks import HookThreads, call_hook

ANN = Identity("ann", "user:ann")
ADA = Identity("ada", "user:ada", sees_all_others=True)


def by(found: Any) -> Identity | None:
    """Who somebody is where the hook says *found*."""
    return identified(authenticator(auth="hook", hook=lambda _: found), asking())


@pytest.mark.parametrize(
    ("found", "identity"),
    [
        ("ann", ANN), (("ann", False), ANN), (HookUser("ann"), ANN), (Identity("ann", "x"), ANN),
        (("ada", True), ADA), (HookUser("ada", administrator=True), ADA), (None, None),
    ],
)
def test_what_a_hook_may_say(found: Any, identity: Identity | None) -> None:
    assert by(found) == identity


@pytest.mark.parametrize(
    "found", ["", " ", "x" * 257, "a\nb", 5, True, False, ("ann",), ("ann", "yes"), ("ann", 1), {}, b"ann"]
)
def test_what_a_hook_may_not_say(found: Any) -> None:
    with pytest.raises(ConfigurationError, match="APPBUILDER_AUTH_HOOK"):
        by(found)


def test_a_hook_gets_the_request() -> None:
    seen: list[HookRequest] = []

    def hook(request: HookRequest) -> str:
        seen.append(request)
        assert threading.current_thread() is not threading.main_thread(), "it may block"
        return "ann"

    door = authenticator(auth="hook", hook=hook)
    headers = [("x-user", "ann"), ("x-user", "bob"), bearer("a secret")]
    request = asking(*headers, cookies={"theirs": "1"}, method="POST", path="/chat")
    assert identified(door, request) == ANN
    [got] = seen
    assert got.headers["X-User"] == "ann"
    assert got.headers.getlist("x-user") == ["ann", "bob"]
    assert (got.peer, got.method, got.path) == ("10.0.0.5", "POST", "/chat")
    assert dict(got.cookies) == {"theirs": "1"}
    assert "secret" not in repr(got)


def test_a_hook_sees_no_cookies_of_another_site_s_request() -> None:
    seen: list[HookRequest] = []
    door = authenticator(auth="hook", hook=seen.append)
    for headers in ([("sec-fetch-site", "cross-site")], [("origin", "http://evil.example")]):
        identified(door, asking(*headers, ("cookie", "theirs=1"), cookies={"theirs": "1"}))
    assert [(dict(each.cookies), each.headers.get("cookie")) for each in seen] == [({}, None)] * 2


class Whole:
    """An object with an asynchronous call."""

    async def __call__(self, _: HookRequest) -> str:
        return "ann"


async def _asynchronous(word: str, _: HookRequest) -> str:
    await asyncio.sleep(0)
    return word


@pytest.mark.parametrize("hook", [Whole(), functools.partial(_asynchronous, "ann")])
def test_asynchronous_hooks(hook: Any) -> None:
    assert identified(authenticator(auth="hook", hook=hook), asking()) == ANN


def test_a_hook_may_refuse_in_its_own_words() -> None:
    def hook(_: HookRequest) -> None:
        raise Forbidden("Come back on Monday.")

    with pytest.raises(Forbidden, match="Monday"):
        identified(authenticator(auth="hook", hook=hook), asking())


def test_a_hook_that_fails_lets_nobody_in_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def hook(request: HookRequest) -> None:
        raise KeyError(request.headers["authorization"])

    with pytest.raises(ServiceUnavailable) as refused:
        identified(authenticator(auth="hook", hook=hook), asking(bearer("canary")))
    assert "canary" not in str(refused.value)
    assert "KeyError" in caplog.text
    assert "in hook" in caplog.text
    assert "canary" not in caplog.text


def test_a_hook_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_hooks, "HOOK_WAIT", 0.01)
    released = threading.Event()

    async def asks() -> None:
        for hook in (released.wait, asyncio.Event().wait):
            with pytest.raises(ServiceUnavailable):
                await call_hook(HookThreads(), "APPBUILDER_AUTH_HOOK", hook)

    try:
        asyncio.run(asks())
    finally:
        released.set()


def test_hooks_that_never_return_take_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all of its threads held the function is not asked any more, and goes on when one comes back."""
    monkeypatch.setattr(user_hooks, "HOOK_WAIT", 0.05)
    released, begun = threading.Event(), []

    def hook(name: str) -> str:
        begun.append(name)
        assert name == "late" or released.wait(10)
        return name

    async def asks() -> None:
        threads = HookThreads(2)
        for name in ("one", "two"):
            with pytest.raises(ServiceUnavailable):
                await call_hook(threads, "APPBUILDER_AUTH_HOOK", hook, name)
        monkeypatch.setattr(user_hooks, "HOOK_WAIT", 10.0)
        with pytest.raises(ServiceUnavailable):  # at once: none of the threads may ever come back
            await asyncio.wait_for(call_hook(threads, "APPBUILDER_AUTH_HOOK", hook, "three"), 5)
        assert begun == ["one", "two"]
        before = threading.active_count()
        released.set()
        while True:
            try:
                assert await call_hook(threads, "APPBUILDER_AUTH_HOOK", hook, "late") == "late"
                break
            except ServiceUnavailable:
                await asyncio.sleep(0)
        assert threading.active_count() <= before

    asyncio.run(asks())


def test_calls_of_a_hook_wait_for_its_threads() -> None:
    running, most = [0], [0]

    def hook() -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.01)
        running[0] -= 1

    async def asks() -> None:
        threads = HookThreads(3)
        await asyncio.gather(*(call_hook(threads, "APPBUILDER_TURN_HOOK", hook) for _ in range(20)))

    asyncio.run(asks())
    assert 1 <= most[0] <= 3


def test_the_hook_of_the_docs() -> None:
    door = authenticator(auth="hook", hook=documented("auth.md", "who"))
    forwarded = ("x-forwarded-user", "ann")
    assert identified(door, asking(forwarded, peer="10.0.0.2")) == ANN
    assert identified(door, asking(forwarded)) is None
    assert identified(door, asking(peer="10.0.0.2")) is None


# Several ways at once


def test_each_credential_goes_its_own_way(tmp_path: Any) -> None:
    place = tmp_path / "keys.json"
    place.write_bytes(key_set(signing_key().public_members()))
    keys = MemoryKeys()
    _, secret = keys.add("laptop", "ann")
    asked: list[HookRequest] = []

    def hook(request: HookRequest) -> str | None:
        asked.append(request)
        return request.headers.get("x-user") or ("bot" if "opaque" in str(request.headers.items()) else None)

    door = authenticator(
        keys, auth="keys, jwt,hook", hook=hook, jwt_issuer=ISSUER, jwt_audience=AUDIENCE, jwt_jwks=str(place)
    )
    assert identified(door, asking(bearer(secret), ("x-user", "bob"))) == ANN
    assert identified(door, asking(bearer(signing_key().token(sub="tom")))) == Identity("tom", "user:tom")
    for wrong in ("ab_wrong", signing_key().token(aud="other")):
        with pytest.raises(Unauthenticated):
            identified(door, asking(bearer(wrong), ("x-user", "bob")))
    assert not asked, "what has the form of a key or a token is not the hook's"
    assert identified(door, asking(bearer("opaque"))) == Identity("bot", "user:bot")
    assert identified(door, asking(("x-user", "bob"))) == Identity("bob", "user:bob")
    assert identified(door, asking()) is None
    with pytest.raises(Unauthenticated):
        identified(door, asking(bearer("unknown")))
    cookie = door.page.log_in("ann", secret) or ""
    assert identified(door, asking(("x-user", "bob"), cookies={door.page.cookie_name: cookie})) == ANN
