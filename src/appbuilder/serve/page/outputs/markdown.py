"""Markdown from values that others chose: nothing in them can become a link, HTML, or end a fence.

Everything here is pure. ``plain`` comes first: what it gives, the other functions take without failing.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any
from urllib.parse import quote, urlsplit

from appbuilder import jsontext

MAX_DEPTH = 50
MAX_BITS = 1000  # Python itself refuses to write an integer of some ten times that

# All that CommonMark, GFM, directives (`:name[]`) or mathematics give a meaning to.
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$&:=^\"@])")
# Controls, and what reorders or hides text: a title must read as it is.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
_WEB = re.compile(r"https?://[^/?#]", re.IGNORECASE)
_BACKTICKS = re.compile(r"`+")


def plain(value: Any, depth: int = MAX_DEPTH) -> Any:
    """*value* as what JSON has a form for: finite numbers, no half surrogates, at most *depth* levels."""
    if isinstance(value, str):
        return value if value.isascii() else jsontext.clean(value)
    if value is None or isinstance(value, int):
        return "…" if value and value.bit_length() > MAX_BITS else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth and isinstance(value, dict):
        return {str(plain(key, 0)): plain(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, (list, tuple)):
        return [plain(item, depth - 1) for item in value]
    return "…" if isinstance(value, (dict, list, tuple)) else jsontext.clean(str(value))


def line(text: str, limit: int = 500) -> str:
    """*text* on one line, at most *limit* characters, without what cannot be seen."""
    text = " ".join(_UNSEEN.sub(" ", text[: 2 * limit]).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def escaped(text: str, limit: int = 500) -> str:
    """*text* on one line as Markdown that reads as the text itself."""
    return _PUNCTUATION.sub(r"\\\1", line(text, limit))


def fenced(text: str, language: str = "") -> str:
    """*text* as a code block whose fence is longer than any run of backticks inside."""
    fence = "`" * max(3, *(len(run) + 1 for run in _BACKTICKS.findall(text)), 0)
    info = language if re.fullmatch(r"[\w+#.-]{1,30}", language) else ""
    return f"{fence}{info}\n{text.rstrip(chr(10))}\n{fence}"


def fenced_json(value: Any) -> str:
    """*value* (made :func:`plain`) as an indented JSON block; non-ASCII text is not escaped."""
    return fenced(json.dumps(value, ensure_ascii=False, indent=2), "json")


def code_span(text: str) -> str:
    """*text* on one line in the running text, as code."""
    text = line(text)
    fence = "`" * (max((len(run) for run in _BACKTICKS.findall(text)), default=0) + 1)
    gap = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{gap}{text}{gap}{fence}" if text else ""


def web_address(url: str) -> str | None:
    """*url* if it is an http or https address, with what Markdown or HTML would stumble over as ``%xx``."""
    url = url.strip()
    if not _WEB.match(url) or _UNSEEN.search(url) or host(url) is None:
        return None
    return quote(url, safe="%/:=&?~#+!$,;@-._[]'", errors="replace")


def host(url: str) -> str | None:
    """The host an http address leads to, whatever stands before an ``@``; None without one."""
    try:
        return urlsplit(url.replace("\\", "%5C")).hostname or None
    except ValueError:
        return None


def link(title: str, url: str, *, say_host: bool = True) -> str:
    """A link that reads *title*, with the host it leads to behind it; text where *url* is no web address."""
    address = web_address(url)
    if address is None:
        told = dict.fromkeys(part for part in (line(title), line(url)) if part)
        return ": ".join(escaped(part) for part in told)
    label = escaped(title) or escaped(url)
    # A character reference would be read as what it stands for, in an address too.
    target = address.replace("&", "&amp;")
    return f"[{label}]({target})" + (f" · {escaped(host(address) or '')}" if say_host else "")


def has_open_fence(text: str) -> bool:
    """Whether *text* ends inside a fenced block (https://spec.commonmark.org/0.31.2/#fenced-code-blocks)."""
    fence = ""
    for line in text.splitlines():
        found = _FENCE_LINE.match(line)
        if not fence:
            fence = found[1] if found and not (found[1][0] == "`" and "`" in found[2]) else ""
        elif found and found[1].startswith(fence) and not found[2].strip():
            fence = ""
    return bool(fence)


_FENCE_LINE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
