"""Files for a conversation, as parts of a form."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appbuilder.errors import InvalidRequest

Part = tuple[str, Any]


@contextmanager
def file_part(path: Any, name: str = "") -> Iterator[Part]:
    """The file at *path* with its name and content type; it is open, and read while it is sent.

    :param name: another name than the path's.
    :raises InvalidRequest: there is no file there, or it cannot be opened.
    """
    file = Path(path)
    if not file.is_file():
        raise InvalidRequest(f"{file.name!r} is no file, or is not there.")
    try:
        content = file.open("rb")
    except OSError as error:
        raise InvalidRequest(f"{file.name!r} cannot be opened: {error.strerror}.") from None
    name = name or file.name
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    with content:
        yield "file", (name, content, kind)


def text_part(name: str, value: str) -> Part:
    """A text of the form."""
    return name, (None, value)
