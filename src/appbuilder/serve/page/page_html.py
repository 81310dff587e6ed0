"""The page's HTML: Chainlit's own, without what would be fetched from other hosts."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from appbuilder import jsontext
from appbuilder.errors import ConfigurationError

STYLE_SHEET = "/page.css"
SCRIPT = "/page.js"
_FACTS = "@facts@"
_RIGHT_TO_LEFT = frozenset({"ar", "fa", "he", "ur"})

_HTML = '<html lang="en">'
_FONTS = re.compile(r"<!-- FONT START -->.*?<!-- FONT END -->", re.DOTALL)
_FOREIGN_LINK = re.compile(r"<link\b[^>]*\bhref=\"https?:[^>]*>", re.DOTALL)
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def render(template: Path, name: str) -> str:
    """Chainlit's ``index.html`` for an assistant called *name*.

    :raises ConfigurationError: Chainlit's page is another than the one this was written for.
    """
    page = template.read_text(encoding="utf-8")
    head = (
        f'<meta name="appbuilder" content="{_FACTS}" />'
        f'<script src="{SCRIPT}"></script>'
        f"<title>{html.escape(name)}</title>"
        '<link rel="icon" href="/favicon" />'
        f'<link rel="stylesheet" href="{STYLE_SHEET}" />'
        '<meta property="og:root_path" content="" />'
    )
    page = _FOREIGN_LINK.sub("", _FONTS.sub("", page))
    page, count = re.subn("<!-- TAG INJECTION PLACEHOLDER -->", lambda _: head, page, count=1)
    if count != 1 or 'type="module"' not in page or _HTML not in page:
        raise ConfigurationError(
            "This version of Chainlit has another page than the ones tried: "
            "install the newest appbuilder-runtime, or an older chainlit."
        )
    return page


def localized(page: str, language: str, facts: Mapping[str, Any]) -> str:
    """*page* for one reader.

    :param language: of the page's words.
    :param facts: what the page's script receives.
    """
    direction = "rtl" if language.partition("-")[0] in _RIGHT_TO_LEFT else "ltr"
    told = html.escape(jsontext.clean(jsontext.dumps(facts).decode()))
    page = page.replace(_HTML, f'<html lang="{language}" dir="{direction}">', 1)
    return page.replace(_FACTS, told, 1)


def content_security_policy(page: str, image_hosts: Sequence[str]) -> str:
    """The policy for *page*: its own scripts and data only; images also from *image_hosts*."""
    hashes = " ".join(_hash(script) for script in _INLINE_SCRIPT.findall(page))
    media = " ".join(["'self' data: blob:", *map(_origin, image_hosts)])
    rules = {
        "default-src": "'self'",
        "script-src": f"'self' {hashes}".strip(),
        # Chainlit's page and Plotly set styles on elements.
        "style-src": "'self' 'unsafe-inline'",
        "img-src": media,
        "media-src": media,
        "font-src": "'self' data:",
        # Charts come as data: addresses, and the page reads them by fetch().
        "connect-src": "'self' data:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _origin(host: str) -> str:
    parts = urlsplit(host)
    if parts.scheme not in {"http", "https"} or not re.fullmatch(r"[A-Za-z0-9.:\[\]*-]+", parts.netloc):
        raise ConfigurationError(f"image_hosts are addresses like https://images.example.com, not {host!r}.")
    return f"{parts.scheme}://{parts.netloc}"
