"""Bytes in an output as ``data:`` URLs of types that a page may show; pure.

What a browser would run (HTML, scripts, an SVG that holds one) never gets such an address.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
from typing import Literal
from urllib.parse import unquote_to_bytes

Kind = Literal["image", "audio", "file"]

_IMAGES = r"image/(png|jpeg|gif|webp|bmp|avif|apng|x-icon|svg\+xml)"
_AUDIO = r"audio/[a-z0-9][a-z0-9.+-]*"
_FILES = (
    r"video/[a-z0-9][a-z0-9.-]*|text/(plain|csv|markdown|tab-separated-values)"
    r"|application/(json|pdf|zip|gzip|octet-stream|msword|rtf|vnd\.[a-z0-9.-]+)"
)
_ALLOWED = {
    "image": re.compile(_IMAGES),
    "audio": re.compile(_AUDIO),
    "file": re.compile(f"{_IMAGES}|{_AUDIO}|{_FILES}"),
}
_SHORT_NAMES = {
    "image/jpg": "image/jpeg", "image/ico": "image/x-icon", "image/svg": "image/svg+xml",
    "audio/mp3": "audio/mpeg", "audio/m4a": "audio/mp4", "audio/x-wav": "audio/wav",
}  # fmt: skip
# (where, what, type), after the formats' own definitions.
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"BM", "image/bmp"),
    (4, b"ftypavif", "image/avif"),
    (8, b"WAVE", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (4, b"ftypM4A", "audio/mp4"),
)
# What can run, load or declare something in an SVG, whatever its namespace prefix.
_ACTIVE_SVG = re.compile(
    r"<(?:[^\s<>]*:)?(?:script|foreignobject|iframe|object|embed|handler|listener|set|animate)\b"
    r"|script\s*:|\bon\w+\s*=|data:text|<!(?!--|doctype[^\[>]*>)|<\?(?!xml\s)|&#|\x00",
    re.IGNORECASE,
)


def embedded(text: str, declared: str, name: str, kind: Kind) -> str | None:
    """A ``data:`` URL from base64 text (or from a ``data:`` URL), or None if the page may not have it.

    :param declared: its type, as ``png`` or ``image/png``; the bytes' own signature has the last word.
    :param name: the file's name, for its type where nothing else tells.
    """
    if text[:5].lower() == "data:":
        declared, data = _parts(text)
    else:
        data = _decoded(text)
    if not data:
        return None
    mime = _type(data, declared, name, kind)
    if mime is None or (mime == "image/svg+xml" and not _harmless(data)):
        return None
    return data_url(mime, data)


def data_url(mime: str, data: bytes) -> str:
    """*data* as an address that holds it."""
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def type_of(name: str) -> str:
    """The type a file's name tells, ``application/octet-stream`` if none."""
    return mimetypes.guess_type(name.rsplit("/", 1)[-1])[0] or "application/octet-stream"


def _parts(url: str) -> tuple[str, bytes | None]:
    head, _, body = url[5:].partition(",")
    mime, *parameters = (part.strip().lower() for part in head.split(";"))
    raw = unquote_to_bytes(body)
    return mime or "text/plain", _decoded(raw.decode("latin-1")) if "base64" in parameters else raw


def _decoded(text: str) -> bytes | None:
    text = "".join(text.split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        return None


def _type(data: bytes, declared: str, name: str, kind: Kind) -> str | None:
    told = declared.strip().lower()
    if told and "/" not in told:
        told = f"{kind}/{told}"
    candidates = [_SHORT_NAMES.get(told, told) or type_of(name)]
    if kind != "file":
        candidates.insert(0, _signed(data))
    return next((mime for mime in candidates if _ALLOWED[kind].fullmatch(mime)), None)


def _signed(data: bytes) -> str:
    if data[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "image/svg+xml"
    return next((mime for at, magic, mime in _SIGNATURES if data[at:].startswith(magic)), "")


def _harmless(svg: bytes) -> bool:
    try:
        text = svg.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return "<svg" in text and not _ACTIVE_SVG.search(text)
