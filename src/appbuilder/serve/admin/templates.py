"""The admin page's HTML, from its templates. All that is put into them is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from appbuilder import jsontext
from appbuilder.serve.admin import formatting

_HERE = Path(__file__).parent
STATIC = _HERE / "static"

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With no-referrer browsers would send "Origin: null" with the page's own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept-Language",
}
"""Of every answer of the page."""


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        iso=formatting.iso,
        minute=formatting.minute,
        second=formatting.second,
        number=formatting.number,
        duration=formatting.duration,
        since=lambda seconds: formatting.duration(1000 * max(0, round(seconds))),
        owner=formatting.owner,
        path=lambda part: quote(part, safe=""),
    )
    return made


_templates = _environment()


def page(template: str, status: int = 200, **given: Any) -> Response:
    """The page of *template*."""
    html = _templates.get_template(template).render(**given)
    # What some program stored may hold what UTF-8 cannot.
    return HTMLResponse(jsontext.clean(html), status, HEADERS)
