"""Bodies of requests: what is checked before they are read, and JSON objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from appbuilder import jsontext
from appbuilder.errors import AppBuilderError, InvalidRequest, PayloadTooLarge, UnsupportedMediaType

JSON = "application/json"


class BrokenBody(InvalidRequest):
    """Where this body ends cannot be known: what follows on the connection may be the rest of it."""


class UnreadBody(Exception):
    """The body is not read to its end, because of *error*."""

    def __init__(self, error: AppBuilderError) -> None:
        super().__init__(error)
        self.error = error


def check_headers(header: Callable[[str], str | None], limit: int, kinds: Sequence[str] = (JSON,)) -> None:
    """Checks what the headers say of a body.

    :param header: gives a header by its name.
    :param limit: bytes.
    :param kinds: the types it may be declared as.
    :raises UnsupportedMediaType: it is declared as another type, or it is compressed.
    :raises PayloadTooLarge: it is declared to be larger.
    """
    kind = header("content-type") or ""
    if kind not in kinds and kind.partition(";")[0].strip().lower() not in kinds:
        raise UnsupportedMediaType(f"Send the body as JSON, with Content-Type: {kinds[0]}.")
    if (header("content-encoding") or "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the body uncompressed.")
    declared = header("content-length") or ""
    if declared.isdigit() and int(declared[:20]) > limit:
        raise too_large(limit)


def too_large(limit: int) -> PayloadTooLarge:
    """The error for a body of more than *limit* bytes."""
    return PayloadTooLarge(f"The body is larger than {limit} bytes.")


def json_object(body: bytes, max_values: int = 0) -> dict[str, Any]:
    """The JSON object that *body* is.

    :param max_values: values it may hold; 0: any number.
    :raises InvalidRequest: it is something else, or holds more.
    """
    try:
        value = jsontext.loads(body, max_values=max_values)
    except jsontext.TooManyValues:
        raise InvalidRequest(
            f"The body holds more than {max_values} values (elements and members); send less at once."
        ) from None
    except jsontext.NotJson as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return value
