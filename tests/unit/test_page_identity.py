"""Who is asking: the whole matrix of peers, hosts, headers and cookies."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeTimedSerializer
from tests.memory_store import MemoryStore

from appbuilder import clock
from appbuilder.core.conversations import LOCAL_USER, ConversationRepository
from appbuilder.errors import ConfigurationError, RateLimited, StoreUnavailable
from appbuilder.serve.auth.page_identity import PageAuthenticator
from appbuilder.serve.auth.passwords import ATTEMPTS
from appbuilder.serve.auth.request_info import Identity, RequestInfo, host_name, over_https, read_request_info
from appbuilder.serve.auth.signed_cookies import KNOWN, LOGIN_DAYS, VISITOR_DAYS, Logins
from appbuilder.serve.page.page_options import Page, TrustedHeader
from appbuilder.testing.stores import FlakyStore

KEY = b"k" * 32
USERS = {"ann": "secret-a", "bob": "secret-b", "王芳": "secret-c"}

LOOPBACK_PEERS = ("127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1")
FOREIGN_PEERS = (
    "10.0.0.5", "192.168.1.2", "2001:db8::1", "::ffff:10.0.0.5", "0.0.0.0", "::", "", "localhost", "unix:",
)
LOOPBACK_HOSTS = (
    "localhost", "localhost:8091", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8091", "[::1]", "[::1]:8091",
    "[::ffff:127.0.0.1]:8091", "127.3.3.3:1",
)
FOREIGN_HOSTS = (
    "evil.example", "evil.example:8091", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0:8091",
    "", "10.0.0.5", "[2001:db8::1]", "localhost@evil.example", "evil.example#localhost", "127.0.0.1:x",
    "localhost:8091:1", "[::1", "::1", "127.1", "2130706433", "localhost,evil.example",
)
FORWARDING = (
    "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded", "via",
    "x-real-ip", "client-ip", "x-client-ip", "true-client-ip", "fastly-client-ip", "cf-connecting-ip",
    "x-original-host", "x-original-forwarded-for", "x-cluster-client-ip",
)


def asking(
    peer: str = "10.0.0.5",
    host: str | None = "page.example",
    *headers: tuple[str, str],
    cookies: Mapping[str, str] | None = None,
) -> RequestInfo:
    first = [] if host is None else [("host", host)]
    return RequestInfo(peer, [*first, *headers], dict(cookies or {}))


def open_gate(key: bytes = KEY) -> PageAuthenticator:
    return PageAuthenticator(Page(), key)


def header_gate(*proxies: str, administrators: Sequence[str] = ()) -> PageAuthenticator:
    header = TrustedHeader("X-User", proxies) if proxies else TrustedHeader("X-User")
    return PageAuthenticator(Page(user_header=header, administrators=administrators), KEY)


def identified(gate: PageAuthenticator, request: RequestInfo) -> Identity:
    found = gate.identify(request)
    assert found is not None
    return found


# An open page


@pytest.mark.parametrize(("peer", "host"), list(itertools.product(LOOPBACK_PEERS, LOOPBACK_HOSTS)))
def test_a_browser_on_this_machine_is_the_local_user(peer: str, host: str) -> None:
    found = open_gate().identify(asking(peer, host))
    assert found == Identity(LOCAL_USER, LOCAL_USER, sees_all_others=True)
    assert found.owners == (LOCAL_USER, None)


@pytest.mark.parametrize(
    ("peer", "host"),
    [*itertools.product(FOREIGN_PEERS, LOOPBACK_HOSTS), *itertools.product(LOOPBACK_PEERS, FOREIGN_HOSTS)],
)
def test_everybody_else_is_a_visitor(peer: str, host: str) -> None:
    found = identified(open_gate(), asking(peer, host))
    assert found.owner.startswith("visitor:")
    assert not found.sees_all_others
    assert found.owners == (found.owner,)


@pytest.mark.parametrize("name", FORWARDING)
@pytest.mark.parametrize("value", ["", "127.0.0.1", "for=127.0.0.1;host=localhost"])
def test_what_a_proxy_forwards_is_not_local(name: str, value: str) -> None:
    assert asking("127.0.0.1", "localhost").is_local
    assert not asking("127.0.0.1", "localhost", (name, value)).is_local


def test_no_host_or_several_are_not_local() -> None:
    assert not asking("127.0.0.1", None).is_local
    assert not asking("127.0.0.1", "localhost", ("host", "localhost")).is_local
    assert not asking("127.0.0.1", "localhost", ("host", "evil.example")).is_local


def test_a_visitor_is_known_again_by_his_cookie_and_is_given_it_once() -> None:
    gate = open_gate()
    first = identified(gate, asking())
    assert first.cookie
    again = identified(gate, asking(cookies={gate.cookie_name: first.cookie}))
    assert (again.name, again.owner, again.cookie) == (first.name, first.owner, "")
    assert identified(gate, asking()).owner != first.owner


def test_the_local_user_s_cookie_says_nothing() -> None:
    """Who was a visitor stays one elsewhere, and is the local user here."""
    gate = open_gate()
    cookies = {gate.cookie_name: identified(gate, asking()).cookie}
    assert identified(gate, asking("127.0.0.1", "localhost", cookies=cookies)).owner == LOCAL_USER


def test_a_cookie_of_another_key_makes_a_new_visitor() -> None:
    gate, other = open_gate(), open_gate(b"o" * 32)
    theirs = identified(other, asking())
    assert gate.cookie_name != other.cookie_name
    cookies = {gate.cookie_name: theirs.cookie, other.cookie_name: theirs.cookie}
    found = identified(gate, asking(cookies=cookies))
    assert found.owner != theirs.owner
    assert found.cookie


def test_cookies_grow_old(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, users = open_gate(), PageAuthenticator(Page(users=USERS), KEY)
    visitor = identified(gate, asking())
    login = users.login_cookie("ann")

    def after(days: float, gate: PageAuthenticator, cookie: str) -> Identity | None:
        monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + days * 86_400)
        return gate.identify(asking(cookies={gate.cookie_name: cookie}))

    now = clock.now().timestamp()
    kept = after(VISITOR_DAYS - 1, gate, visitor.cookie)
    assert kept is not None
    assert kept.owner == visitor.owner
    old = after(VISITOR_DAYS + 1, gate, visitor.cookie)
    assert old is not None
    assert old.owner != visitor.owner
    assert after(LOGIN_DAYS - 1, users, login) is not None
    assert after(LOGIN_DAYS + 1, users, login) is None


def _cut(cookie: str) -> list[str]:
    body, stamp, signature = cookie.rsplit(".", 2)
    return [
        f"{body}.{stamp}.{signature[::-1]}",
        f"{body}.{stamp}.",
        f"{body}.{stamp}",
        f"{body}",
        f"{stamp}.{body}.{signature}",
        f"{body}.{stamp}.{signature}x",
        cookie.swapcase(),
        cookie * 2,
        "",
        "." * 50,
        "\x00",
    ]


def test_a_forged_cookie_is_nobody_s() -> None:
    gate = open_gate()
    mine = identified(gate, asking())
    for forged in _cut(mine.cookie):
        found = identified(gate, asking(cookies={gate.cookie_name: forged}))
        assert found.owner != mine.owner, forged
        assert found.cookie, "a new visitor"
    users = PageAuthenticator(Page(users=USERS), KEY)
    for forged in _cut(users.login_cookie("ann")):
        assert users.identify(asking(cookies={users.cookie_name: forged})) is None


@pytest.mark.parametrize("value", [[], "ann", 7, None, {"visitor": 5}, {"visitor": ["x"]}, {"user": "ann"}])
def test_what_we_signed_for_something_else_is_no_identity(value: Any) -> None:
    cookie = URLSafeTimedSerializer(KEY, salt="appbuilder-page").dumps(value)
    gate, users = open_gate(), PageAuthenticator(Page(users=USERS), KEY)
    assert identified(gate, asking(cookies={gate.cookie_name: cookie})).cookie
    assert users.identify(asking(cookies={users.cookie_name: cookie})) is None
    other_salt = URLSafeTimedSerializer(KEY, salt="other").dumps({"visitor": "v"})
    assert identified(gate, asking(cookies={gate.cookie_name: other_salt})).owner != "visitor:v"


# Users with passwords


def test_a_user_is_known_by_the_cookie_of_a_login_and_by_nothing_else() -> None:
    gate = PageAuthenticator(Page(users=USERS, administrators={"bob"}), KEY)
    for name in USERS:
        cookies = {gate.cookie_name: gate.login_cookie(name)}
        found = gate.identify(asking(cookies=cookies))
        assert found == Identity(name, f"user:{name}", sees_all_others=name == "bob")
        # The same from this machine: with users there is no local user.
        assert gate.identify(asking("127.0.0.1", "localhost", cookies=cookies)) == found
    assert gate.identify(asking("127.0.0.1", "localhost")) is None
    assert gate.identify(asking("127.0.0.1", "localhost", ("x-user", "ann"))) is None
    basic = ("authorization", "Basic YW5uOnNlY3JldC1h")
    assert gate.identify(asking("127.0.0.1", "localhost", basic)) is None


def test_a_visitor_s_cookie_is_no_login() -> None:
    """Both pages may have one key: the database's."""
    visitors, users = open_gate(), PageAuthenticator(Page(users=USERS), KEY)
    assert visitors.cookie_name == users.cookie_name
    visitor = identified(visitors, asking()).cookie
    assert users.identify(asking(cookies={users.cookie_name: visitor})) is None
    login = users.login_cookie("ann")
    assert identified(visitors, asking(cookies={visitors.cookie_name: login})).owner.startswith("visitor:")


def test_a_changed_password_or_a_removed_user_ends_the_login() -> None:
    cookie = PageAuthenticator(Page(users=USERS), KEY).login_cookie("ann")
    for users in ({**USERS, "ann": "other"}, {"bob": "secret-b"}, {"bob": USERS["ann"]}):
        gate = PageAuthenticator(Page(users=users), KEY)
        assert gate.identify(asking(cookies={gate.cookie_name: cookie})) is None
    unchanged = PageAuthenticator(Page(users={"ann": USERS["ann"]}), KEY)
    assert unchanged.identify(asking(cookies={unchanged.cookie_name: cookie})) is not None


def test_a_cookie_does_not_tell_the_password() -> None:
    cookie = PageAuthenticator(Page(users=USERS), KEY).login_cookie("ann")
    loaded = URLSafeTimedSerializer(KEY, salt="appbuilder-page").loads(cookie)
    assert "secret-a" not in str(loaded)


# Users from a header


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_the_proxy_s_header_names_the_user(peer: str) -> None:
    gate = header_gate(administrators=["ann"])
    assert gate.identify(asking(peer, "page.example", ("x-user", "ann"))) == Identity("ann", "user:ann", True)
    assert gate.identify(asking(peer, "page.example", ("x-user", " bob "))) == Identity("bob", "user:bob")


def test_networks_of_proxies() -> None:
    gate = header_gate("10.0.0.0/8", "192.168.1.2", "2001:db8::/32")
    for peer in ("10.1.2.3", "::ffff:10.9.9.9", "192.168.1.2", "2001:db8::7"):
        assert gate.identify(asking(peer, "h", ("x-user", "ann"))), peer
    for peer in ("11.0.0.1", "192.168.1.3", "2001:db9::1", "127.0.0.1", "", "10.0.0", "10.0.0.1, 11.0.0.1"):
        assert gate.identify(asking(peer, "h", ("x-user", "ann"))) is None, peer


def test_a_header_that_is_not_one_plain_name_names_nobody() -> None:
    gate = header_gate()
    for headers in (
        [],
        [("x-user", "")],
        [("x-user", "  ")],
        [("x-user", "ann"), ("x-user", "ann")],
        [("x-user", "ann"), ("x-user", "bob")],
        [("x-user", "a" * 257)],
        [("x-user", "ann\x00")],
        [("x-user", "ann\u0085bob")],
        [("x-user", "\xff\xfe")],
        [("x_user", "ann")],
    ):
        assert gate.identify(asking("127.0.0.1", "localhost", *headers)) is None, headers


def test_names_in_any_script() -> None:
    gate = header_gate()
    for name in ("王芳", "Zoë", "Αθηνά", "ann@example.com", "CORP\\ann"):
        as_it_arrives = name.encode().decode("latin-1")
        assert identified(gate, asking("127.0.0.1", "h", ("x-user", as_it_arrives))).name == name
    # What is Latin-1 and no UTF-8 is nobody: which one is meant cannot be told.
    assert gate.identify(asking("127.0.0.1", "h", ("x-user", "Zo\xeb"))) is None


def test_no_cookie_stands_for_the_header() -> None:
    gate = header_gate()
    login = PageAuthenticator(Page(users=USERS), KEY).login_cookie("ann")
    for cookie in (login, identified(open_gate(), asking()).cookie):
        assert gate.identify(asking("127.0.0.1", "h", cookies={gate.cookie_name: cookie})) is None


def test_a_page_that_is_set_up_wrongly() -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        PageAuthenticator(Page(users=USERS, user_header=TrustedHeader("X-User")), KEY)
    with pytest.raises(ConfigurationError, match="networks"):
        header_gate("10.0.0.0/99")


# Whatever comes

PEERS = st.sampled_from(LOOPBACK_PEERS + FOREIGN_PEERS) | st.ip_addresses().map(str) | st.text(max_size=20)
HOSTS = st.sampled_from(LOOPBACK_HOSTS + FOREIGN_HOSTS) | st.ip_addresses().map(str) | st.text(max_size=30)
HEADERS = st.lists(
    st.tuples(st.sampled_from((*FORWARDING, "accept")) | st.text(max_size=12), st.text(max_size=12)),
    max_size=3,
)


@given(peer=PEERS, hosts=st.lists(HOSTS, max_size=3), headers=HEADERS)
def test_nobody_else_is_ever_the_local_user(
    peer: str, hosts: list[str], headers: list[tuple[str, str]]
) -> None:
    request = RequestInfo(peer, [*(("host", host) for host in hosts), *headers], {})
    if identified(open_gate(), request).owner != LOCAL_USER:
        return
    assert peer.startswith("127.") or peer in {"::1"} or peer.lower().startswith(("::ffff:127.", "::ffff:7f"))
    assert len(request.values("host")) == 1
    name = host_name(request.values("host")[0])
    assert name in {"localhost", "::1"} or name.startswith(("127.", "::ffff:127.", "::ffff:7f"))
    assert not set(FORWARDING) & {name for name, _ in headers}


def test_an_odd_cookie_of_another_program_does_not_hide_ours() -> None:
    """Cookies are shared by all ports of a host."""
    gate = open_gate()
    mine = identified(gate, asking())
    for odd in ('state={"a": "b"}', "a[b]=c", "a@b", "=", ";;", "name with blanks=1", "ünïcode=1"):
        for value in (f"{odd}; {gate.cookie_name}={mine.cookie}", f"{gate.cookie_name}={mine.cookie}; {odd}"):
            headers = [(b"host", b"h"), (b"cookie", value.encode())]
            request = read_request_info({"type": "http", "client": ("10.0.0.5", 1), "headers": headers})
            assert identified(gate, request).owner == mine.owner, value


@given(noise=st.binary(max_size=300) | st.binary(max_size=80).map(lambda data: b"appbuilder_" + data))
def test_no_cookie_bytes_give_another_s_identity(noise: bytes) -> None:
    gate, users = open_gate(), PageAuthenticator(Page(users=USERS), KEY)
    prefix = gate.cookie_name.encode() + b"="
    headers = [(b"host", b"h"), (b"cookie", prefix + noise), (b"cookie", noise)]
    request = read_request_info({"type": "http", "client": ("10.0.0.5", 1), "headers": headers})
    found = identified(gate, request)
    assert found.owner.startswith("visitor:")
    assert found.cookie, "a visitor of his own, not one that the noise named"
    assert users.identify(request) is None


@pytest.mark.parametrize(
    ("scheme", "headers", "secure"),
    [
        ("http", [], False), ("https", [], True), ("wss", [], True),
        ("http", [("x-forwarded-proto", "https")], True), ("http", [("x-forwarded-proto", "http")], False),
        ("http", [("x-forwarded-proto", "https, http")], True),
        ("http", [("x-forwarded-proto", " HTTPS,http")], True),
        ("http", [("x-forwarded-proto", "http, https")], False),
        ("http", [("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")], True),
        ("http", [("forwarded", 'for=1.2.3.4;proto="https", proto=http')], True),
        ("http", [("forwarded", "proto=http;host=a, proto=https")], False),
    ],
)
def test_the_first_proxy_says_whether_the_client_speaks_https(
    scheme: str, headers: list[tuple[str, str]], secure: bool
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    assert over_https({"scheme": scheme, "headers": raw}) is secure


# Logging out


def page_of(repository: ConversationRepository | None) -> PageAuthenticator:
    return PageAuthenticator(Page(users=USERS), KEY, Logins(repository))


def who(gate: PageAuthenticator, cookie: str) -> Identity | None:
    return asyncio.run(gate.who({}, asking(cookies={gate.cookie_name: cookie})))


@pytest.mark.parametrize("kept", [True, False])
def test_logging_out_ends_the_cookie(kept: bool) -> None:
    repository = MemoryStore().repository() if kept else None
    gate = page_of(repository)
    cookie, other = (gate.log_in("ann", USERS["ann"]) or "" for _ in range(2))
    assert who(gate, cookie) == who(gate, other) == Identity("ann", "user:ann")
    request = asking(cookies={gate.cookie_name: cookie})
    gate.log_out(request)
    assert who(gate, cookie) is None
    assert who(gate, gate.browser_cookie("ann")) is None, "what the browser keeps is not a login"
    assert who(gate, other) is not None
    if kept:
        assert who(page_of(repository), cookie) is None, "nor after a restart"
    gate.log_out(asking())


def test_a_browser_that_was_logged_in_is_not_kept_out_by_others() -> None:
    gate = page_of(None)
    for _ in range(ATTEMPTS):
        assert gate.log_in("ann", "wrong", asking()) is None
    with pytest.raises(RateLimited):
        gate.log_in("ann", USERS["ann"], asking())
    known = asking(cookies={gate.cookie_name + KNOWN: gate.browser_cookie("ann")})
    assert gate.log_in("ann", USERS["ann"], known)
    for wrong in (gate.browser_cookie("bob"), "forged"):
        with pytest.raises(RateLimited):
            gate.log_in("ann", USERS["ann"], asking(cookies={gate.cookie_name + KNOWN: wrong}))


def test_a_login_whose_end_cannot_be_looked_up() -> None:
    store = FlakyStore(MemoryStore())
    gate = page_of(store.repository())
    cookie = gate.log_in("ann", USERS["ann"]) or ""
    store.fail("is_ended")
    with pytest.raises(StoreUnavailable):
        who(gate, cookie)
    assert who(gate, cookie) is not None
    store.fail("is_ended")
    assert who(gate, cookie) is not None, "it was known a moment ago"
