"""The scripted component under a clock that stands where GET /clock?at=<ISO time> has put it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Flask, request
from tests.process.apps import scripted

from appbuilder import clock

stands = datetime(2026, 1, 1)


def app() -> Flask:
    """For gunicorn."""
    made = scripted.app()
    clock.now = lambda: stands

    @made.get("/clock")
    def set_clock() -> Any:
        global stands  # noqa: PLW0603
        stands = datetime.fromisoformat(request.args["at"])
        return {}

    return made
