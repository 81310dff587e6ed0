"""FlaskRuntime where no server runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from appbuilder import Component, FlaskRuntime, Message
from appbuilder.logs import logger


class Echo(Component):
    def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        return message


@pytest.mark.parametrize(
    ("chosen", "seen"), [(logging.NOTSET, logging.DEBUG), (logging.ERROR, logging.ERROR)]
)
def test_an_application_under_a_foreign_server_heeds_the_level_but_the_program_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: int, seen: int
) -> None:
    monkeypatch.setenv("APPBUILDER_LOGLEVEL", "debug")
    before, handlers = logger.level, list(logger.handlers)
    logger.setLevel(chosen)
    try:
        FlaskRuntime(Echo(), f"sqlite:///{tmp_path}/a.db").create_flask_app()
        assert (logger.level, logger.handlers) == (seen, handlers)
    finally:
        logger.setLevel(before)
