"""Which hosts and origins are let in: the pure part of the service's front."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.callers import asking, local

from appbuilder.errors import ConfigurationError, Forbidden, InvalidRequest
from appbuilder.serve.auth.origins import (
    OriginPolicy,
    check_request,
    cookies_allowed,
    cors_headers,
    preflight,
)
from appbuilder.serve.auth.request_info import RequestInfo
from appbuilder.settings import Settings

OPENED = "https://app.example"
OPEN = OriginPolicy.of(Settings(cors_origins=f"{OPENED}, http://localhost:3000/", auth="keys"), "0.0.0.0")
CLOSED = OriginPolicy.of(Settings(), "0.0.0.0")
ANY = OriginPolicy.of(Settings(cors_origins="*", auth="keys"), "0.0.0.0")
HTTP = {"type": "http"}
SOCKET = {"type": "websocket"}
OWN = ("origin", "http://chat.example")
FOREIGN = [
    "https://evil.example", "null", "", "http://chat.example:81", "http://chat.example.evil.example",
    "chat.example", "https://app.example.evil.example", "https://evil.example/https://app.example",
    "https://APP.example", "http://app.example", "https://app.example:8443", "file://",
]


def is_let_in(request: RequestInfo, origin_policy: OriginPolicy = CLOSED, scope: Any = HTTP) -> bool:
    try:
        check_request(request, scope, origin_policy)
    except Forbidden:
        return False
    return True


# Hosts


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_on_loopback_only_its_own_names_are_answered_to(host: str) -> None:
    origin_policy = OriginPolicy.of(Settings(), host)
    for good in ("localhost", "localhost:8090", "127.0.0.1:8090", "[::1]:8090", "LOCALHOST"):
        assert is_let_in(asking(host=good, peer="127.0.0.1"), origin_policy), good
    for bad in ("evil.example", "evil.example:8090", "localhost.evil.example", "10.0.0.5", "127.0.0.1.a"):
        assert not is_let_in(asking(host=bad, peer="127.0.0.1"), origin_policy), bad
        assert not is_let_in(asking(host=bad, peer="127.0.0.1"), origin_policy, SOCKET), bad
    assert not is_let_in(asking(host=None), origin_policy)


def test_named_hosts_and_loopback_are_answered_to() -> None:
    origin_policy = OriginPolicy.of(Settings(hosts="Chat.example, 10.0.0.7,[2001:db8::1]"), "0.0.0.0")
    for good in ("chat.example", "CHAT.EXAMPLE:443", "10.0.0.7:8090", "[2001:db8::1]", "localhost"):
        assert is_let_in(asking(host=good), origin_policy), good
    for bad in ("evil.example", "chat.example.evil.example", "10.0.0.8", "", "chat.example@evil.example"):
        assert not is_let_in(asking(host=bad), origin_policy), bad
        assert is_let_in(asking(host=bad, path="/health"), origin_policy), "probes come by address"
    assert is_let_in(asking(host="evil.example"), OriginPolicy.of(Settings(hosts="*"), "127.0.0.1"))


def test_elsewhere_every_host_is_answered_to_and_two_are_not() -> None:
    assert is_let_in(asking(host="evil.example"))
    assert is_let_in(asking(host=None))
    for origin_policy in (CLOSED, OriginPolicy.of(Settings(), "127.0.0.1")):
        with pytest.raises(InvalidRequest):
            check_request(local(("host", "localhost")), HTTP, origin_policy)


@pytest.mark.parametrize(
    "hosts", ["https://chat.example", "chat.example:443", "chat.example/x", "a b", "[", "é"]
)
def test_hosts_that_are_none(hosts: str) -> None:
    with pytest.raises(ConfigurationError, match="APPBUILDER_HOSTS"):
        OriginPolicy.of(Settings(hosts=hosts), "0.0.0.0")


# Origins


@pytest.mark.parametrize("origin", FOREIGN)
def test_another_site_s_page_changes_nothing(origin: str) -> None:
    foreign = ("origin", origin)
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        for origin_policy in (CLOSED, OPEN):
            assert not is_let_in(asking(foreign, method=method), origin_policy), method
    assert not is_let_in(asking(foreign), CLOSED, SOCKET)
    assert not is_let_in(asking(foreign), OPEN, SOCKET)
    assert is_let_in(asking(foreign)), "what is read, a browser keeps from it"


def test_our_own_page_and_programs_may() -> None:
    for method in ("POST", "DELETE"):
        assert is_let_in(asking(method=method))
        assert is_let_in(asking(OWN, method=method))
        assert is_let_in(asking(("origin", "https://chat.example"), method=method)), "TLS ends in front"
        assert is_let_in(asking(OWN, ("sec-fetch-site", "same-origin"), method=method))
    assert not is_let_in(asking(OWN, OWN, method="POST"))
    assert not is_let_in(asking(OWN, host=None, method="POST"))


@pytest.mark.parametrize("site", ["cross-site", "same-site", "odd", ""])
def test_the_browser_s_own_word_counts(site: str) -> None:
    said = ("sec-fetch-site", site)
    assert not is_let_in(asking(said, method="POST"))
    assert not is_let_in(asking(OWN, said, method="POST"))
    assert not is_let_in(asking(said, ("sec-fetch-site", "none"), method="POST"))
    assert is_let_in(asking(("origin", OPENED), said, method="POST"), OPEN), "it was opened for that one"


def test_opened_origins_may() -> None:
    for origin in (OPENED, "http://localhost:3000"):
        assert is_let_in(asking(("origin", origin), method="POST"), OPEN)
        assert is_let_in(asking(("origin", origin)), OPEN, SOCKET)
    assert is_let_in(asking(("origin", "https://evil.example"), method="POST"), ANY)


# Cookies


@given(
    site=st.sampled_from([None, "same-origin", "none", "same-site", "cross-site"]),
    origin=st.sampled_from([None, "http://chat.example", OPENED, "null"]),
    mode=st.sampled_from([None, "navigate", "cors", "no-cors"]),
    dest=st.sampled_from([None, "document", "iframe", "image", "empty"]),
    method=st.sampled_from(["GET", "HEAD", "POST", "DELETE"]),
)
def test_cookies_count_for_our_own_page_and_for_a_link_to_it(
    site: str | None, origin: str | None, mode: str | None, dest: str | None, method: str
) -> None:
    said = {"sec-fetch-site": site, "origin": origin, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
    request = asking(*((name, value) for name, value in said.items() if value is not None), method=method)
    own = site in {None, "same-origin", "none"} and origin in {None, "http://chat.example"}
    followed = method in {"GET", "HEAD"} and origin is None and (mode, dest) == ("navigate", "document")
    assert cookies_allowed(request) == (own or followed)


# CORS


def named(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    assert len({name for name, _ in headers}) == len(headers)
    return {name.decode(): value.decode() for name, value in headers}


def test_without_opening_nothing_is_said() -> None:
    for request in (asking(), asking(OWN), asking(("origin", OPENED))):
        assert cors_headers(request, CLOSED) == []
        assert preflight(request, HTTP, CLOSED) is None


def test_an_opened_origin_is_told_so_and_never_with_credentials() -> None:
    headers = named(cors_headers(asking(("origin", OPENED)), OPEN))
    assert headers["access-control-allow-origin"] == OPENED
    assert headers["vary"] == "Origin"
    assert "X-Appbuilder-Request-Id" in headers["access-control-expose-headers"]
    assert named(cors_headers(asking(), ANY))["access-control-allow-origin"] == "*"
    for origin_policy in (OPEN, ANY, CLOSED):
        for origin in (OPENED, *FOREIGN):
            told = named(cors_headers(asking(("origin", origin)), origin_policy))
            assert "access-control-allow-credentials" not in told


@pytest.mark.parametrize("origin", FOREIGN)
def test_others_are_told_nothing_but_that_it_depends(origin: str) -> None:
    assert named(cors_headers(asking(("origin", origin)), OPEN)) == {"vary": "Origin"}
    assert named(cors_headers(asking(("origin", OPENED), ("origin", origin)), OPEN)) == {"vary": "Origin"}


def test_a_preflight_is_answered() -> None:
    asked = [
        ("origin", OPENED), ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization, x-stainless-os,content-type"),
    ]
    request = asking(*asked, method="OPTIONS")
    check_request(request, HTTP, OPEN)
    found = preflight(request, HTTP, OPEN)
    assert found is not None
    headers = named(found)
    assert headers["access-control-allow-headers"] == "authorization, x-stainless-os,content-type"
    assert "DELETE" in headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in headers
    assert preflight(asking(*asked, method="POST"), HTTP, OPEN) is None
    assert preflight(asking(asked[0], method="OPTIONS"), HTTP, OPEN) is None
    assert preflight(asking(("origin", FOREIGN[0]), asked[1], method="OPTIONS"), HTTP, OPEN) is None


@pytest.mark.parametrize("wanted", ["x\r\nset-cookie: a=b", "", "*/*;", "a b", "é"])
def test_a_preflight_gives_back_names_only(wanted: str) -> None:
    asked = [("origin", OPENED), ("access-control-request-method", "POST")]
    request = asking(*asked, ("access-control-request-headers", wanted), method="OPTIONS")
    found = preflight(request, HTTP, OPEN)
    assert found is not None
    assert "access-control-allow-headers" not in named(found)


@pytest.mark.parametrize("origins", ["app.example", "https://", "https://a/b", "https://a@b", "nullx", "https://a,x"])
def test_origins_that_are_none(origins: str) -> None:
    with pytest.raises(ConfigurationError, match="APPBUILDER_CORS_ORIGINS"):
        OriginPolicy.of(Settings(cors_origins=origins, auth="keys"), "0.0.0.0")


@pytest.mark.parametrize("origins", ["*", "null", "https://a.example,null"])
def test_what_any_site_can_be_needs_authentication(origins: str) -> None:
    with pytest.raises(ConfigurationError, match="APPBUILDER_AUTH"):
        OriginPolicy.of(Settings(cors_origins=origins), "127.0.0.1")


def test_pages_of_files_have_the_origin_null() -> None:
    request = asking(("origin", "null"), method="POST")
    origin_policy = OriginPolicy.of(Settings(cors_origins="null", auth="keys"), "::")
    assert is_let_in(request, origin_policy)
    assert not is_let_in(request, OPEN)
    assert named(cors_headers(request, origin_policy))["access-control-allow-origin"] == "null"
    assert not cookies_allowed(request)


def test_a_port_that_goes_without_saying() -> None:
    assert OriginPolicy.of(Settings(cors_origins="https://a.example:443"), "::").origins == {"https://a.example"}
