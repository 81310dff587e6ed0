"""Bodies of requests that are to be JSON objects."""

from __future__ import annotations

from typing import Any

from appbuilder import jsontext
from appbuilder.errors import InvalidRequest


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
