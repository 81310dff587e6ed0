"""The page at /docs: the OpenAPI document, for reading; pure.

One file with all it needs and no script, so it looks the same without a network, and under a policy that
allows nothing but its own style.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from appbuilder.serve.routes.schema_examples import example_of

_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
_STYLE = Path(__file__).parent / "static" / "reference.css"

Document = Mapping[str, Any]


def render_page(document: Document, address: str = "http://127.0.0.1:8090") -> str:
    """The document as one HTML file.

    :param address: of the service, as the reader's commands are to name it.
    """
    info = document["info"]
    title = escape(str(info["title"]))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}: API reference</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n"
        f"{_navigation(document, title)}\n<main>\n{_introduction(document, address)}"
        f"{''.join(_groups(document, address))}{_schemas(document)}</main>\n</body>\n</html>\n"
    )


@cache
def _style() -> str:
    return _STYLE.read_text("utf-8")


# What there is


def _operations(document: Document) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Path, method and operation, in the document's order."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                shared = item.get("parameters", [])
                own = item[method].get("parameters", [])
                yield path, method, {**item[method], "parameters": [*shared, *own]}


def _by_tag(document: Document) -> dict[str, list[tuple[str, str, Mapping[str, Any]]]]:
    found: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {
        tag["name"]: [] for tag in document.get("tags", [])
    }
    for path, method, operation in _operations(document):
        tag = next(iter(operation.get("tags", ())), "Other")
        found.setdefault(tag, []).append((path, method, operation))
    return {tag: operations for tag, operations in found.items() if operations}


def _anchor(method: str, path: str) -> str:
    letters = "".join(each if each.isalnum() else "-" for each in f"{method}-{path}")
    return "-".join(filter(None, letters.split("-")))


# Its parts


def _navigation(document: Document, title: str) -> str:
    parts = [f'<nav aria-label="Contents"><a class="name" href="#top">{title}</a>']
    for tag, operations in _by_tag(document).items():
        links = "".join(
            f'<li><a href="#{_anchor(method, path)}">{_badge(method)}<span>{_broken(path)}</span></a></li>'
            for path, method, _ in operations
        )
        parts.append(f"<h2>{escape(tag)}</h2><ul>{links}</ul>")
    names = document.get("components", {}).get("schemas", {})
    links = "".join(f'<li><a href="#schema-{escape(name)}">{escape(name)}</a></li>' for name in names)
    return "".join([*parts, f"<h2>Schemas</h2><ul>{links}</ul></nav>"])


def _introduction(document: Document, address: str) -> str:
    info = document["info"]
    about = f"<p>{_prose(info['description'])}</p>" if "description" in info else ""
    rows = [
        (f"<code>{_security_header(scheme)}</code>", _prose(scheme.get("description", "")))
        for scheme in document.get("components", {}).get("securitySchemes", {}).values()
    ]
    security = f"<h3>Authentication</h3>{_table(('Header', ''), rows)}" if rows else ""
    return (
        f'<header id="top"><h1>{escape(str(info["title"]))} <small>API {escape(str(info["version"]))}'
        f'</small></h1>{about}<p>Address <code class="copy">{escape(address)}</code> · for programs: '
        f'<a href="openapi.json">openapi.json</a></p>{security}</header>\n'
    )


def _security_header(scheme: Mapping[str, Any]) -> str:
    if scheme.get("type") == "apiKey":
        return f"{escape(scheme['name'])}: &lt;key&gt;"
    return f"Authorization: {escape(str(scheme.get('scheme', '')).capitalize())} &lt;credential&gt;"


def _groups(document: Document, address: str) -> Iterator[str]:
    texts = {tag["name"]: tag.get("description", "") for tag in document.get("tags", [])}
    for tag, operations in _by_tag(document).items():
        text = f"<p>{_prose(texts[tag])}</p>" if texts.get(tag) else ""
        yield f'<section class="group"><h2>{escape(tag)}</h2>{text}'
        for path, method, operation in operations:
            yield _operation(document, address, path, method, operation)
        yield "</section>\n"


def _operation(
    document: Document, address: str, path: str, method: str, operation: Mapping[str, Any]
) -> str:
    anchor = _anchor(method, path)
    about = f"<p>{_prose(operation['description'])}</p>" if "description" in operation else ""
    return (
        f'<article id="{anchor}"><h3><a href="#{anchor}">{escape(operation.get("summary", path))}</a></h3>'
        f'<p class="line">{_badge(method)} <code>{_broken(path)}</code></p>{about}'
        f"{_parameters(operation)}{_request(document, operation)}{_responses(document, operation)}"
        f"<h4>Try it</h4><pre><code class='copy'>{escape(_curl(document, address, path, method, operation))}"
        "</code></pre></article>\n"
    )


def _parameters(operation: Mapping[str, Any]) -> str:
    rows = []
    for each in operation["parameters"]:
        needed = ' <em class="needed">required</em>' if each.get("required") else ""
        name = f"<code>{escape(each['name'])}</code>{needed}"
        rows.append((name, escape(each["in"]), _kind(each["schema"]), _prose(each.get("description", ""))))
    return f"<h4>Parameters</h4>{_table(('Name', 'In', 'Type', ''), rows)}" if rows else ""


def _request(document: Document, operation: Mapping[str, Any]) -> str:
    sent = operation.get("requestBody")
    return "" if sent is None else f"<h4>Body</h4>{_bodies(document, sent, answer=False)}"


def _responses(document: Document, operation: Mapping[str, Any]) -> str:
    good, bad = [], []
    for status, response in operation["responses"].items():
        text = _prose(response.get("description", ""))
        if status.startswith(("4", "5")):
            bad.append((f"<code>{escape(status)}</code>", text))
            continue
        told = f"<p>{text}</p>" if text else ""
        bodies = _bodies(document, response, answer=True)
        good.append(f"<h4>Answer <code>{escape(status)}</code></h4>{told}{bodies}")
    if bad:
        problems = _table(("Status", ""), bad)
        good.append(f"<details><summary>Errors: {len(bad)} statuses</summary>{problems}</details>")
    return "".join(good)


def _schemas(document: Document) -> str:
    schemas = document.get("components", {}).get("schemas", {})
    articles = "".join(
        f'<article id="schema-{escape(name)}"><h3><a href="#schema-{escape(name)}">{escape(name)}</a></h3>'
        f"{_prose(schema.get('description', ''))}{_table(_HEADS, _members(schema))}</article>\n"
        for name, schema in schemas.items()
    )
    return f'<section class="group"><h2>Schemas</h2>{articles}</section>\n' if articles else ""


# Schemas

_HEADS = ("Member", "Type", "")


def _bodies(document: Document, message: Mapping[str, Any], *, answer: bool) -> str:
    """What a request or a response holds, by its types."""
    parts = []
    for kind, each in message.get("content", {}).items():
        schema = each.get("schema", {})
        rows = list(_members(_resolved(document, schema), answer=answer, document=document))
        text = "" if rows else _prose(schema.get("description", ""))
        parts.append(f'<p class="kind"><code>{escape(kind)}</code> {text or _kind(schema)}</p>')
        parts.append(_table(_HEADS, rows))
    return "".join(parts)


def _resolved(document: Document, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _members(
    schema: Mapping[str, Any], before: str = "", *, answer: bool = False, document: Document | None = None
) -> Iterator[tuple[str, str, str]]:
    """The members of an object, and of what is in it.

    :param answer: True: it does not matter to the reader which of them must be there.
    :param document: given, the members of a schema it names are included; of those within, the names alone.
    """
    needed = () if answer else schema.get("required", ())
    for name, each in schema.get("properties", {}).items():
        mark = ' <em class="needed">required</em>' if name in needed else ""
        text = _prose(each.get("description", ""))
        yield f"<code>{escape(before + name)}</code>{mark}", _kind(each), text
        inner, place = (each, ".") if each.get("type") != "array" else (each.get("items", {}), "[].")
        if document is not None:
            yield from _members(_resolved(document, inner), before + name + place, answer=answer)
        else:
            yield from _members(inner, before + name + place, answer=answer)
    more = schema.get("additionalProperties")
    if isinstance(more, Mapping) and more:
        yield f"<code>{escape(before)}…</code>", _kind(more), _prose(more.get("description", ""))


def _kind(schema: Mapping[str, Any]) -> str:
    """What a value is, in some words."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(_kind(each) for each in schema[choice])
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const'], ensure_ascii=False))}</code>"
    if "enum" in schema:
        words = " or ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
        return words + _limits(schema)
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    given = schema.get("type", "anything" if not schema.get("properties") else "object")
    names = [given] if isinstance(given, str) else given
    return escape(" or ".join(names)) + _limits(schema)


def _limits(schema: Mapping[str, Any]) -> str:
    words = []
    if "maximum" in schema:
        words.append(f"{schema.get('minimum', 0)} to {schema['maximum']}")
    if "maxLength" in schema:
        words.append(f"up to {schema['maxLength']} characters")
    if "default" in schema:
        words.append(f"default <code>{escape(json.dumps(schema['default']))}</code>")
    return f'<small>{", ".join(words)}</small>' if words else ""


# Small things


def _badge(method: str) -> str:
    return f'<b class="method {method}">{method.upper()}</b>'


def _broken(path: str) -> str:
    """A path that may be broken into lines after its slashes."""
    return escape(path).replace("/", "/<wbr>")


def _prose(text: str) -> str:
    """Text in which `backquotes` mark code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table; nothing where it has no rows."""
    rows = list(rows)
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{each or "<span>Description</span>"}</th>' for each in heads)
    cells = "".join("<tr>" + "".join(f"<td>{each}</td>" for each in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table></div>'


def _curl(
    document: Document, address: str, path: str, method: str, operation: Mapping[str, Any]
) -> str:
    """A command that does it."""
    query = []
    for each in operation["parameters"]:
        if each["in"] == "path":
            value = each["schema"].get("example", each["name"].upper())
            path = path.replace("{" + each["name"] + "}", quote(value, safe=""))
        elif each["in"] == "query" and "example" in each:
            query.append(f"{each['name']}={each['example']}")
    where = shlex.quote(address + path + ("?" + "&".join(query) if query else ""))
    words = ["curl", where] if method == "get" else ["curl", "-X", method.upper(), where]
    for kind, each in operation.get("requestBody", {}).get("content", {}).items():
        words += ["-H", shlex.quote(f"Content-Type: {kind}"), *_data(document, kind, each)]
        break
    return " ".join(words)


def _data(document: Document, kind: str, sent: Mapping[str, Any]) -> list[str]:
    if "json" not in kind or kind.endswith("ndjson"):
        return ["--data-binary", "@FILE"]
    value = sent["example"] if "example" in sent else example_of(document, sent.get("schema", {}))
    return ["-d", shlex.quote(json.dumps(value, ensure_ascii=False))]
