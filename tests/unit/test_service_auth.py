"""Who is asking, without authentication and with keys: place, key, cookie."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.memory_store import MemoryStore
from tests.unit.callers import (
    SECRET,
    Clock,
    MemoryKeys,
    asking,
    authenticator,
    bearer,
    identified,
    local,
    stopped_clock,
)

from appbuilder.errors import ConfigurationError, Forbidden, StoreUnavailable, Unauthenticated
from appbuilder.runtime.service_runtime import ServiceRuntime
from appbuilder.serve.auth.authenticator import FRESH, Authenticator, check_exposure
from appbuilder.serve.auth.request_info import Credential, Identity, RequestInfo
from appbuilder.serve.http.messages import IDENTITY
from appbuilder.settings import Settings
from appbuilder.testing.stores import FlakyStore

LOCAL = Identity("local", "local", sees_all_others=True)
CROSS = ("sec-fetch-site", "cross-site")


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stopped_clock(monkeypatch)


def on_page(door: Authenticator, request: RequestInfo) -> Identity | None:
    """Whom the page's gate makes of whom the front has found."""
    return asyncio.run(door.page.who({IDENTITY: identified(door, request)}, request))


# Nobody has to say who he is


def test_on_this_machine_it_is_the_local_user_whatever_he_brings() -> None:
    door = authenticator(host="127.0.0.1")
    assert identified(door, local()) == LOCAL
    assert identified(door, local(bearer("sk-anything"))) == LOCAL
    assert on_page(door, local()) == LOCAL


def test_identifying_the_local_user_waits_for_nothing() -> None:
    step = authenticator(host="127.0.0.1").identify(local())
    with pytest.raises(StopIteration) as done:
        step.send(None)
    assert done.value.value == LOCAL


def test_strangers_are_kept_out_unless_they_may_come() -> None:
    door = authenticator(host="127.0.0.1")
    for request in (asking(), asking(peer="127.0.0.1"), local(("x-forwarded-for", "1.2.3.4"))):
        with pytest.raises(Forbidden, match="--allow-anonymous"):
            identified(door, request)


def test_where_all_may_come_programs_are_nobody_and_browsers_are_visitors() -> None:
    door = authenticator(allow_anonymous=True)
    assert identified(door, local()) == LOCAL
    assert identified(door, asking()) == Identity("anonymous", "anonymous", peer="10.0.0.5")
    first = on_page(door, asking())
    assert first is not None
    assert first.owner.startswith("visitor:")
    again = asking(cookies={door.page.cookie_name: first.cookie})
    known = identified(door, again)
    assert known == Identity(first.name, first.owner, peer="10.0.0.5"), "the API knows the page's visitor"
    assert on_page(door, again) == known
    assert not known.sees_all_others


def test_a_visitor_s_cookie_counts_on_our_own_pages_only() -> None:
    door = authenticator(allow_anonymous=True)
    first = on_page(door, asking())
    assert first is not None
    cookies = {door.page.cookie_name: first.cookie}
    for headers in ([CROSS], [("origin", "http://evil.example")]):
        request = asking(*headers, cookies=cookies)
        found = identified(door, request)
        assert found is not None
        assert found.owner == "anonymous"
        shown = on_page(door, request)
        assert shown is not None
        assert shown.owner not in {first.owner, "anonymous"}
        assert not shown.cookie, "what the browser had is not put aside"


# Keys


def test_a_key_makes_its_user() -> None:
    keys = MemoryKeys()
    _, ann = keys.add("laptop", "ann")
    _, phone = keys.add("phone", "ann")
    _, ada = keys.add("ada's", "ada", administrator=True)
    _, bob = keys.add("bob's", "bob")
    door = authenticator(keys, auth="keys", administrators="bob, carl")
    for secret in (ann, phone):
        for header in (bearer(secret), ("authorization", f"bearer   {secret} "), ("x-api-key", secret)):
            assert identified(door, asking(header)) == Identity("ann", "user:ann")
    assert identified(door, asking(bearer(ada))) == Identity("ada", "user:ada", sees_all_others=True)
    assert identified(door, asking(bearer(bob))) == Identity("bob", "user:bob", sees_all_others=True)


def test_without_a_key_it_is_nobody_also_on_this_machine() -> None:
    door = authenticator(MemoryKeys(), auth="keys")
    for request in (asking(), local(), asking(("authorization", "Basic YTpi"))):
        assert identified(door, request) is None
        assert on_page(door, request) is None


@pytest.mark.parametrize(
    "headers",
    [
        [bearer("ab_wrong")], [bearer("")], [("authorization", "Bearer")], [bearer("sk-x")],
        [bearer("a.b.c")],
        [("x-api-key", "")], [("x-api-key", "ab_wrong")], [bearer("ab_secret1"), bearer("ab_secret1")],
        [bearer("ab_secret1"), ("x-api-key", "ab_secret1")], [bearer("ab_secret1 ab_secret1")],
        [bearer("AB_SECRET1")], [bearer("ab_" + "x" * 20_000)], [bearer("ab_\xff")],
    ],
)
def test_a_wrong_credential_is_refused_whatever_else_there_is(headers: list[tuple[str, str]]) -> None:
    keys = MemoryKeys()
    keys.add("laptop", "ann")
    door = authenticator(keys, auth="keys", hook=None)
    cookie = door.page.log_in("ann", "ab_secret1")
    assert cookie
    for request in (
        asking(*headers), local(*headers), asking(*headers, cookies={door.page.cookie_name: cookie})
    ):
        with pytest.raises(Unauthenticated) as refused:
            identified(door, request)
        assert "ab_" not in str(refused.value)


def test_a_revoked_key_ends_within_seconds(still: Clock) -> None:
    keys = MemoryKeys()
    _, secret = keys.add("laptop", "ann")
    door = authenticator(keys, auth="keys")

    async def asks() -> None:
        for _ in range(5):
            assert await door.identify(asking(bearer(secret)))
        assert keys.calls["find"] == 1, "the database is not asked each time"
        keys.revoke("laptop")
        still.now += FRESH
        with pytest.raises(Unauthenticated):
            await door.identify(asking(bearer(secret)))

    asyncio.run(asks())


def test_an_answer_that_a_key_does_not_exist_holds_too(still: Clock) -> None:
    keys = MemoryKeys()
    door = authenticator(keys, auth="keys")

    async def asks() -> None:
        for _ in range(3):
            with pytest.raises(Unauthenticated):
                await door.identify(asking(bearer("ab_secret1")))
        assert keys.calls["find"] == 1
        _, secret = keys.add("laptop", "ann")
        still.now += FRESH
        assert await door.identify(asking(bearer(secret)))

    asyncio.run(asks())


def test_a_cached_answer_holds_no_secret() -> None:
    keys = MemoryKeys()
    _, secret = keys.add("laptop", "ann")
    door: Any = authenticator(keys, auth="keys")
    assert identified(door, asking(bearer(secret)))
    [name] = door._found._tasks._entries
    assert b"ab_" not in name


def test_a_database_that_is_away_is_not_a_wrong_key() -> None:
    keys = MemoryKeys()
    door = authenticator(keys, auth="keys")
    keys.fail = True
    with pytest.raises(StoreUnavailable):
        identified(door, asking(bearer("ab_secret1")))


# The page's login


def test_a_user_logs_in_with_a_key_and_is_the_same_on_page_and_api() -> None:
    keys = MemoryKeys()
    _, secret = keys.add("laptop", "ann")
    door = authenticator(keys, auth="keys")
    assert door.page.has_login
    cookie = door.page.log_in("ann", secret)
    assert cookie
    request = asking(cookies={door.page.cookie_name: cookie})
    assert identified(door, request) == identified(door, asking(bearer(secret)))
    assert on_page(door, request) == Identity("ann", "user:ann")


def test_a_login_needs_the_key_s_own_user() -> None:
    keys = MemoryKeys()
    _, secret = keys.add("laptop", "ann")
    page = authenticator(keys, auth="keys").page
    for name, password in (("bob", secret), ("ann", "ab_wrong"), ("", secret), ("laptop", secret)):
        assert page.log_in(name, password) is None


def test_wrong_keys_keep_nobody_out(still: Clock) -> None:
    keys = MemoryKeys()
    _, secret = keys.add("laptop", "ann")
    page = authenticator(keys, auth="keys").page
    for number in range(200):
        assert page.log_in("ann", f"ab_{number}") is None
    assert page.log_in("ann", secret)


def test_logging_out_ends_the_cookie_in_every_process(still: Clock) -> None:
    keys, repository = MemoryKeys(), FlakyStore(MemoryStore())
    _, secret = keys.add("laptop", "ann")
    here, there = (authenticator(keys, repository.repository(), auth="keys") for _ in range(2))
    cookie, other = here.page.log_in("ann", secret) or "", here.page.log_in("ann", secret) or ""
    request, on_another = (asking(cookies={here.page.cookie_name: each}) for each in (cookie, other))
    found = identified(there, request)
    assert found is not None
    assert found.login == here.page.login_of(request) != ""
    here.page.log_out(request)
    for door in (here, there):
        assert identified(door, request) is None
        assert identified(door, on_another) is not None, "another browser stays logged in"
    repository.fail("is_ended", 2)
    assert identified(there, on_another) is not None, "it was known a moment ago"
    still.now += 61
    with pytest.raises(StoreUnavailable):
        identified(there, on_another)


def test_a_cookie_without_a_login_is_none() -> None:
    keys = MemoryKeys()
    key, _ = keys.add("laptop", "ann")
    door = authenticator(keys, auth="keys")
    cookies: Any = door.page
    request = asking(cookies={cookies.cookie_name: cookies._cookies.sign({"key": key.id})})
    assert identified(door, request) is None
    door.page.log_out(request)


def test_with_the_key_the_login_ends(still: Clock) -> None:
    keys = MemoryKeys()
    _, secret = keys.add("laptop", "ann")
    keys.add("phone", "ann")
    door = authenticator(keys, auth="keys")
    cookie = door.page.log_in("ann", secret)
    assert cookie
    request = asking(cookies={door.page.cookie_name: cookie})
    assert identified(door, request)
    keys.revoke("laptop")
    still.now += FRESH
    assert identified(door, request) is None


@pytest.mark.parametrize(
    "headers", [[CROSS], [("sec-fetch-site", "same-site")], [("origin", "http://evil.example")]]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_login_does_not_count_for_other_sites_pages(headers: list[tuple[str, str]], method: str) -> None:
    keys = MemoryKeys()
    _, secret = keys.add("laptop", "ann")
    door = authenticator(keys, auth="keys", cors_origins="*")
    cookies = {door.page.cookie_name: door.page.log_in("ann", secret) or ""}
    assert identified(door, asking(*headers, cookies=cookies, method=method)) is None
    followed = [CROSS, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]
    assert identified(door, asking(*followed, cookies=cookies)), "a link to the page"


def test_cookies_are_good_for_what_they_were_made_for() -> None:
    keys = MemoryKeys()
    _, secret = keys.add("laptop", "ann")
    users, visitors = authenticator(keys, auth="keys"), authenticator(allow_anonymous=True)
    assert users.page.cookie_name == visitors.page.cookie_name
    login = users.page.log_in("ann", secret) or ""
    visitor = on_page(visitors, asking())
    assert visitor is not None
    assert identified(users, asking(cookies={users.page.cookie_name: visitor.cookie})) is None
    found = identified(visitors, asking(cookies={users.page.cookie_name: login}))
    assert found is not None
    assert found.owner == "anonymous"


@given(at=st.integers(0, 200), letter=st.sampled_from("aZ09-_.="))
def test_a_changed_cookie_is_none(at: int, letter: str) -> None:
    keys = MemoryKeys()
    _, secret = keys.add("laptop", "ann")
    door = authenticator(keys, auth="keys")
    cookie = door.page.log_in("ann", secret) or ""
    at %= len(cookie)
    changed = cookie[:at] + letter + cookie[at + 1 :]
    # Of a signature's last letter two bits say nothing.
    if changed == cookie or at == len(cookie) - 1:
        return
    assert identified(door, asking(cookies={door.page.cookie_name: changed})) is None


# Credentials


@given(st.text(max_size=50), st.sampled_from(["Bearer ", "bearer ", "Basic ", "Bearer", "", "Bearer\t"]))
def test_whatever_is_sent_is_a_credential_none_or_refused(text: str, scheme: str) -> None:
    try:
        found = asking(("authorization", scheme + text)).credential
    except Unauthenticated:
        return
    assert found is None or found.text in text
    assert "text" not in repr(found)


def test_a_credential_is_never_shown() -> None:
    assert "ab_x" not in repr(Credential("ab_x"))


# Settings


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.5", "chat.example"])
def test_serving_strangers_has_to_be_meant(host: str) -> None:
    with pytest.raises(ConfigurationError, match="--allow-anonymous"):
        check_exposure(Settings(), host)
    check_exposure(Settings(allow_anonymous=True), host)
    check_exposure(Settings(auth="keys"), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_alone_needs_nothing(host: str) -> None:
    check_exposure(Settings(), host)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "--allow-anonymous"),
        ({"allow_anonymous": True, "cors_origins": "*"}, "APPBUILDER_CORS_ORIGINS"),
        ({"allow_anonymous": True, "hosts": "https://x"}, "APPBUILDER_HOSTS"),
        ({"auth": "keys", "allow_anonymous": True}, "contradict"),
    ],
)
def test_no_service_is_made_of_wrong_settings(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    settings = Settings(**{"page": False, "page_secret": SECRET, **given})
    runtime = ServiceRuntime(lambda message: message, f"sqlite:///{tmp_path}/x.db", settings=settings)
    with pytest.raises(ConfigurationError, match=says):
        runtime.create_asgi_app(host="0.0.0.0")


@pytest.mark.parametrize(
    "wrong",
    [
        {"auth": "password"}, {"auth": "keys,oauth"}, {"auth": "keys", "allow_anonymous": True},
        {"auth_hook": "a.py:f"}, {"auth": "keys", "auth_hook": "a.py:f"}, {"jwt_jwks": "https://x/"},
        {"auth": "hook"}, {"auth": "keys"}, {"auth": "jwt"},
        {"auth": "jwt", "jwt_issuer": "i", "jwt_jwks": "https://x/"},
        {"auth": "jwt", "jwt_issuer": "i", "jwt_audience": "a", "jwt_jwks": "/nowhere.json"},
        {"auth": "jwt", "jwt_issuer": "i", "jwt_audience": "a", "jwt_jwks": "ftp://x/"},
        {"auth": "jwt", "jwt_audience": "a", "jwt_jwks": "https://x/"},
    ],
)
def test_settings_that_do_not_fit_together(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        authenticator(None, None, **wrong)
