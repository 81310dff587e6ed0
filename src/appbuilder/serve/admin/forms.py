"""What the admin page's own forms send, and no other."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.requests import Request

from appbuilder.errors import Forbidden, UnsupportedMediaType
from appbuilder.serve.auth.origins import is_cross_site
from appbuilder.serve.auth.request_info import read_request_info
from appbuilder.serve.http.messages import read_body

_LARGEST = 8 * 1024
_FORM = "application/x-www-form-urlencoded"


def check_own_page(request: Request) -> None:
    """Lets only a form of a page of this very origin change something.

    Stricter than what stands in front of all protocols: there programs, which send no Origin, and pages of
    sites that may use the API are accepted, too.

    :raises Forbidden: another site's page sends it, or no page at all.
    """
    request_info = read_request_info(request.scope)
    if is_cross_site(request_info) or not request_info.values("origin"):
        raise Forbidden("This can be done from the admin page only; programs use the API.")


async def fields(request: Request) -> dict[str, str]:
    """The fields of a form, the last of each name.

    :raises UnsupportedMediaType, PayloadTooLarge: it is something else.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise UnsupportedMediaType(f"A form is sent as {_FORM}.")
    body = await read_body(request.receive, _LARGEST)
    found = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=10)
    return {name: values[-1] for name, values in found.items()}
