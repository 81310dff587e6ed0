"""The page's HTML and its policy: nothing of strangers in it, nothing of ours that does not fit."""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

from appbuilder.errors import ConfigurationError
from appbuilder.serve.page.page_html import content_security_policy, render


def template() -> Path:
    spec = find_spec("chainlit")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "frontend" / "dist" / "index.html"


class Page(HTMLParser):
    """What a browser would do with it: addresses it would ask for, scripts it would run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.scripts: list[str] = []
        self.handlers: list[str] = []
        self.title = ""
        self._in = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        addressed = {"src", "href", "content", "action"}
        self.addresses += [value or "" for name, value in attrs if name in addressed]
        self.handlers += [name for name in given if name.startswith("on")]
        self._in = tag
        if tag == "script" and "src" not in given:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "script" and self.scripts:
            self.scripts[-1] += data
        if self._in == "title":
            self.title += data


def rules(policy: str) -> dict[str, list[str]]:
    return {name: values for name, *values in (rule.split() for rule in policy.split(";"))}


def test_it_asks_no_stranger_for_anything() -> None:
    page = Page(render(template(), "Assistant"))
    assert page.tags.count("script") >= 1
    foreign = [each for each in page.addresses if "//" in each]
    assert foreign == []
    assert "fonts.googleapis" not in render(template(), "Assistant")


def test_what_the_policy_must_let_through() -> None:
    html = render(template(), "Assistant")
    page = Page(html)
    script_src = rules(content_security_policy(html, []))["script-src"]
    for script in page.scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in script_src
    assert len(script_src) == 1 + len(page.scripts)
    assert page.handlers == [], "the policy would not let them run"


def test_the_policy_lets_nobody_else_in() -> None:
    policy = rules(content_security_policy(render(template(), "A"), []))
    assert policy["default-src"] == ["'self'"]
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == ["'none'"]
    assert policy["img-src"] == ["'self'", "data:", "blob:"]
    for name, values in policy.items():
        assert not any("//" in value or value == "*" for value in values), name
        assert "'unsafe-eval'" not in values
    assert not any("unsafe" in value or value in {"data:", "blob:"} for value in policy["script-src"])


@pytest.mark.parametrize(
    "name",
    ["A & B", "</title><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "王芳", r"\1\g<0>", ""],
)
def test_a_name_is_a_text(name: str) -> None:
    plain, page = Page(render(template(), "x")), Page(render(template(), name))
    assert page.title == name
    assert page.tags == plain.tags
    assert page.scripts == plain.scripts


def test_hosts_of_images() -> None:
    html = render(template(), "A")
    hosts = ["https://images.example.com", "http://10.0.0.1:8080/", "https://*.cdn.example/a?b", "https://[::1]:1"]
    policy = rules(content_security_policy(html, hosts))
    named = ["https://images.example.com", "http://10.0.0.1:8080", "https://*.cdn.example", "https://[::1]:1"]
    assert policy["img-src"] == policy["media-src"] == ["'self'", "data:", "blob:", *named]
    assert not any(name in values for name in named for key, values in policy.items()
                   if key not in {"img-src", "media-src"})


@pytest.mark.parametrize(
    "host",
    ["images.example.com", "//images.example.com", "javascript:alert(1)", "data:", "https://", "*", "",
     "https://a.example; script-src *", "https://a.example script-src", "https://a.example,*", "ftp://a.example",
     "https://user:password@a.example", "https://a'example", "https://例子.example"],
)
def test_what_is_no_host_of_images(host: str) -> None:
    with pytest.raises(ConfigurationError, match="image_hosts"):
        content_security_policy(render(template(), "A"), [host])


def test_another_page_of_chainlit_is_refused(tmp_path: Path) -> None:
    for html in ("<html></html>", template().read_text("utf-8").replace('type="module"', "")):
        (tmp_path / "index.html").write_text(html, "utf-8")
        with pytest.raises(ConfigurationError, match="Chainlit"):
            render(tmp_path / "index.html", "A")
