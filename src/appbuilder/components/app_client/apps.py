"""Which applications there are, and what one is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel, ValidationError

from appbuilder.components.app_client.schemas import (
    AppBuilderClientAppListResponse,
    AppOverview,
    DescribeAppResponse,
    DescribeAppsResponse,
)
from appbuilder.components.app_client.service import AppService
from appbuilder.core.component import Component
from appbuilder.errors import InvalidRequest, ModelUnavailable

_Answer = TypeVar("_Answer", bound=BaseModel)
_PAGE = 100


def describe_apps(
    marker: str | None = None,
    maxKeys: int = 10,  # noqa: N803 - the SDK's name
    secret_key: str | None = None,
    gateway: str | None = None,
) -> list[AppOverview]:
    """One page of the published applications. (The SDK always asks for the first ten.)

    :param marker: where the page begins: the id of the last application that is known already.
    :param maxKeys: how many at most, 1 to 100.
    :param secret_key: credential; default ``APPBUILDER_TOKEN``. *gateway*: default ``GATEWAY_URL_V2``.
    :raises InvalidRequest: (a ValueError) *maxKeys* is not one of these numbers.
    :raises ModelError: the service could not be reached, failed, or refused the call.
    """
    return _page(marker, maxKeys, secret_key, gateway).data


def describe_app(
    app_id: str, secret_key: str | None = None, gateway: str | None = None
) -> DescribeAppResponse:
    """What an application is made of. Arguments and errors are those of :func:`describe_apps`."""
    told = _service(secret_key, gateway).ask("POST", "/v2/app?Action=DescribeApp", {"id": app_id})
    return _read(DescribeAppResponse, told)


def get_all_apps(secret_key: str | None = None, gateway: str | None = None) -> list[AppOverview]:
    """All published applications, asked for page by page."""
    known: dict[str, AppOverview] = {}
    marker = None
    while True:
        page = _page(marker, _PAGE, secret_key, gateway)
        new = {app.id: app for app in page.data if app.id not in known}
        known.update(new)
        if not new or not (page.isTruncated or len(page.data) == _PAGE):
            return list(known.values())
        marker = page.nextMarker or page.data[-1].id


def get_app_list(
    limit: int = 10,
    after: str = "",
    before: str = "",
    secret_key: str | None = None,
    gateway_v2: str | None = None,
) -> list[AppOverview]:
    """The older way to ask for a page of the applications; new programs use :func:`describe_apps`."""
    query = urlencode({"limit": _size(limit), "after": after, "before": before})
    told = _service(secret_key, gateway_v2).ask("GET", f"/v2/apps?{query}")
    return _read(AppBuilderClientAppListResponse, told).data


def _page(marker: str | None, size: int, secret_key: str | None, gateway: str | None) -> DescribeAppsResponse:
    body = {"maxKeys": _size(size), "marker": marker}
    told = _service(secret_key, gateway).ask("POST", "/v2/app?Action=DescribeApps", body)
    return _read(DescribeAppsResponse, told)


def _size(value: int) -> int:
    if not isinstance(value, int) or not 1 <= value <= _PAGE:
        raise InvalidRequest(f"A page has 1 to {_PAGE} applications.")
    return value


def _service(secret_key: str | None, gateway: str | None) -> AppService:
    credential: Callable[[], str] = Component(secret_key=secret_key).credential
    return AppService(gateway or "", credential)


def _read(kind: type[_Answer], told: dict[str, Any]) -> _Answer:
    try:
        return kind.model_validate(told)
    except ValidationError:
        pass
    raise ModelUnavailable("AppBuilder's answer cannot be read.", request_id=str(told.get("requestId", "")))
