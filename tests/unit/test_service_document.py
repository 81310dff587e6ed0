"""The service's OpenAPI document says what there is, and its page says it to people."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import nullcontext
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import jsonschema_rs
import pytest
from tests.unit.service_client import Desk

from appbuilder.errors import InvalidRequest
from appbuilder.protocols.chat import ON_DISCONNECT_HEADER, REQUEST_ID_HEADER, TOKEN_HEADERS, USER_ID_HEADER
from appbuilder.protocols.openai import chat_completions, response_input
from appbuilder.protocols.openapi import documents
from appbuilder.serve.http.path_routes import SentRoute
from appbuilder.serve.routes import runs, sessions
from appbuilder.serve.routes.api_docs import render_page
from appbuilder.serve.routes.schema_examples import example_of
from appbuilder.settings import Settings

DOCUMENT = documents.service_document("Weather <agent> & co")
METHODS = ("get", "put", "post", "delete", "patch")


def operations() -> Iterator[tuple[str, str, Any]]:
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_every_route_is_in_it_and_it_holds_no_other() -> None:
    service: Any = SimpleNamespace(register=None, settings=Settings())
    here = {(route.path, method) for group in (sessions, runs) for route in group.routes(service)
            if isinstance(route, SentRoute) for method in route.taken}
    ours = ("/sessions", "/runs")
    told = {(path, method.upper()) for method, path, _ in operations() if path.startswith(ours)}
    assert told == here
    have = {path for _, path, _ in operations()}
    assert {"/chat", "/health", "/ready", "/metrics", "/openapi.json", "/docs"} <= have


def test_what_it_refers_to_is_there() -> None:
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    used = set(references(DOCUMENT))
    assert used <= known
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(ids)) == len(ids)
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    for method, path, operation in operations():
        assert set(operation["tags"]) <= tags
        named = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path)), (method, path)
        assert "400" in operation["responses"]


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USER = {"role": "user", "content": "hi"}
GOOD: list[tuple[str, dict[str, Any]]] = [
    ("messages", {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]},
                               {"role": "tool", "tool_call_id": "c", "content": "r"}]}),
    ("messages", {"messages": [{"role": "assistant"}, {"role": "function", "content": "r"}, USER]}),
    ("messages", {"messages": [USER], "session_id": None, "metadata": {"session_id": None}, "stop": None}),
    ("input", {"input": [USER, {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                         {"type": "function_call_output", "call_id": "c", "output": "r"}]}),
    ("input", {"input": "x", "conversation": "c", "session_id": None}),
    ("input", {"input": [{"type": "message", **USER}], "previous_response_id": None}),
    ("input", {"input": [{"type": "function_call_output", "call_id": "c", "output": "r"}]}),
    ("messages", {"messages": [{"role": "tool", "tool_call_id": "c", "content": "r"}]}),
    ("messages", {"messages": [USER], "tools": [{"type": "function", "function": {"name": "f"}}],
                  "temperature": 2, "max_tokens": 1,
                  "response_format": {"type": "json_schema", "json_schema": {"name": "n"}}}),
    ("input", {"input": "x", "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}},
               "tools": [{"type": "function", "name": "f"}, {"type": "x"}], "tool_choice": "required"}),
]
WRONG_IN_CHATS: list[dict[str, Any]] = [
    {"temperature": 9}, {"max_tokens": -5}, {"top_logprobs": 99}, {"response_format": 5}, {"tools": "no"},
    {"tools": [{"type": "function"}]}, {"tools": [{"type": "custom"}]}, {"stop": ["a"] * 5}, {"n": 2},
    {"metadata": {"a": 1}}, {"logit_bias": {"1": 101}}, {"tool_choice": "any"}, {"stream_options": []},
]  # fmt: skip
WRONG_IN_RESPONSES: list[dict[str, Any]] = [
    {"temperature": 9}, {"max_output_tokens": 0}, {"text": 5}, {"tools": [{"type": "function"}]},
    {"reasoning": "high"}, {"truncation": "x"}, {"background": True}, {"store": "x"},
]  # fmt: skip
BAD: list[tuple[str, dict[str, Any]]] = [
    ("messages", {"messages": [{"role": "user", "content": None}]}),
    ("messages", {"messages": [USER, {"role": "king", "content": "x"}]}),
    ("messages", {"messages": [USER, {"role": "tool", "content": 5}]}),
    ("input", {"input": [USER, {"role": "assistant", "content": None}]}),
    ("input", {"input": [USER, {"role": "tool", "content": "x"}]}),
    ("input", {"input": [{"type": "other", **USER}]}),
    ("input", {"input": [USER, {"type": "function_call", "call_id": "c"}]}),
    *(("messages", {"messages": [USER], **wrong}) for wrong in WRONG_IN_CHATS),
    *(("input", {"input": "x", **wrong}) for wrong in WRONG_IN_RESPONSES),
]


@pytest.mark.parametrize(
    ("kind", "body", "good"), [(*each, True) for each in GOOD] + [(*each, False) for each in BAD]
)
def test_it_takes_what_is_taken(kind: str, body: dict[str, Any], good: bool) -> None:
    document = documents.service_document("Echo")
    path = {"messages": "/v1/chat/completions", "input": "/v1/responses"}[kind]
    read: Any = {"messages": chat_completions.read, "input": response_input.read}[kind]
    told = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    asked = {"model": "Echo", **body}
    assert jsonschema_rs.is_valid({**told, "components": document["components"]}, asked) == good
    with nullcontext() if good else pytest.raises(InvalidRequest):
        read(asked, model="Echo", takes=frozenset())


def test_it_tells_the_headers_of_every_turn() -> None:
    for path in ("/chat", "/v1/chat/completions", "/v1/responses"):
        operation = DOCUMENT["paths"][path]["post"]
        told = {each["name"] for each in operation["parameters"] if each["in"] == "header"}
        assert {REQUEST_ID_HEADER, USER_ID_HEADER, ON_DISCONNECT_HEADER, *TOKEN_HEADERS} <= told
        for status in ("429", "503"):
            assert "Retry-After" in operation["responses"][status]["headers"]


def test_it_is_served_with_its_page() -> None:
    desk = Desk()
    assert desk.client.get("/openapi.json").json() == documents.service_document("Echo")
    answer = desk.client.get("/docs", headers={"Host": "service.test:81"})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inl")
    assert "curl http://service.test:81/sessions" in answer.text
    assert desk.client.get("/docs", headers={"Host": "'$(x)<b>"}).text.count("<b>") == 0


class _Seen(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.commands: list[str] = []
        self.open: list[str] = []
        self._copied = False
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [given["href"] or ""] if "href" in given else []
        assert not {"src", "style", "onclick"} & given.keys()
        self._copied = given.get("class") == "copy"
        if tag not in ("meta", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._copied and data.startswith("curl"):
            self.commands.append(data)
        self._copied = False


@pytest.fixture(scope="module")
def seen() -> _Seen:
    return _Seen(render_page(DOCUMENT, "http://here.test"))


def test_the_page_tells_all_of_it_and_asks_no_other_host(seen: _Seen) -> None:
    assert not {"script", "img", "link", "iframe"} & set(seen.tags)
    assert len(set(seen.ids)) == len(seen.ids)
    for link in seen.links:
        assert link == "openapi.json" or link[1:] in seen.ids, link
    assert len([each for each in seen.ids if not each.startswith("schema-")]) == 1 + len(list(operations()))
    text = render_page(DOCUMENT)
    assert "Weather &lt;agent&gt; &amp; co" in text
    assert "url(" not in text
    assert "@import" not in text


def test_its_commands_are_what_a_shell_takes(seen: _Seen) -> None:
    assert len(seen.commands) == len(list(operations()))
    for (method, path, operation), command in zip(_by_tag(), seen.commands, strict=True):
        words = shlex.split(command)
        assert ("-X" in words) == (method != "get")
        address = next(word for word in words if word.startswith("http://here.test/"))
        expected = re.sub(r"\{\w+\}", "[^/]+", re.escape(path).replace(r"\{", "{").replace(r"\}", "}"))
        assert re.fullmatch(f"http://here.test{expected}", address.partition("?")[0])
        if "-d" in words:
            assert isinstance(json.loads(words[words.index("-d") + 1]), dict)
        assert ("-d" in words or "--data-binary" in words) == ("requestBody" in operation)


def _by_tag() -> list[tuple[str, str, Any]]:
    order = [tag["name"] for tag in DOCUMENT["tags"]]
    return sorted(operations(), key=lambda each: order.index(each[2]["tags"][0]))


def test_samples() -> None:
    document = {"components": {"schemas": {
        "A": {"type": "object", "required": ["b", "n"], "properties": {
            "b": {"$ref": "#/components/schemas/B"}, "n": {"type": ["integer", "null"]}, "more": {}}},
        "B": {"anyOf": [{"enum": ["x", "y"]}, {"type": "null"}]},
        "Loop": {"type": "object", "required": ["again"], "properties": {
            "again": {"$ref": "#/components/schemas/Loop"}}},
    }}}
    assert example_of(document, {"$ref": "#/components/schemas/A"}) == {"b": "x", "n": 1}
    assert example_of(document, {"type": "array", "minItems": 1, "items": {"type": "string"}}) == ["text"]
    assert example_of(document, {"type": "array"}) == []
    assert example_of(document, {"default": 3}) == 3
    assert "again" in str(example_of(document, {"$ref": "#/components/schemas/Loop"}))
