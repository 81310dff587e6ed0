"""Requests of AppBuilderClient in the form they are recorded in (``data/app_requests.json``)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from appbuilder.testing import Recorded

DATA = Path(__file__).parent / "data"
RECORDED: list[dict[str, Any]] = json.loads((DATA / "app_requests.json").read_text())["requests"]
"""What ``app_scenario.py`` sends on AppBuilder SDK 1.1.5, request by request."""

NAMES = (
    "describe_apps", "describe_app", "get_app_list", "create_conversation", "upload_file", "upload_file.url",
    "run.blocking", "run.streaming", "feedback", "feedback.reason",
    "run.tools", "run.tool_outputs", "run.tools.typed", "run.tool_outputs.typed", "run.everything",
    "run.asked", "run.resumed",
    "handler.blocking", "handler.blocking.outputs", "handler.streaming", "handler.streaming.outputs",
    "called", "called.outputs", "dialogs.first", "dialogs.second",
    *(f"error.{number}" for number in range(1, 7)),
)  # fmt: skip
_HEADERS = ("X-Appbuilder-Sdk-Config", "X-Appbuilder-Origin", "X-Appbuilder-Request-Id", "X-Bce-Request-Id",
            "Authorization", "Content-Type")
_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def recorded(name: str, request: Recorded) -> dict[str, Any]:
    """*request* as a record: placeholders for what differs each time, of a form the names of its parts."""
    form = request.headers.get("content-type", "").startswith("multipart/form-data;")
    return {
        "call": f"app.{name}",
        "method": request.method,
        "path": request.path,
        "headers": {name: _placeholder(request.headers[name.lower()]) for name in _HEADERS},
        "body": {"multipart": list(request.body)} if form else request.body,
    }


def _placeholder(value: str) -> str:
    if _UUID4.fullmatch(value):
        return "<uuid4>"
    if value.startswith("{"):
        assert isinstance(json.loads(value), dict)
        return "<json>"
    return value.partition(";")[0]
