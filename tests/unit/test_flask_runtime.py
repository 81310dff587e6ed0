"""FlaskRuntime where no server runs."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from appbuilder import Component, FlaskRuntime, Message
from appbuilder.core.message import AnswerMessage
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


def test_a_runtime_without_a_configuration_has_the_default_not_what_another_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    FlaskRuntime(Echo(), f"sqlite:///{tmp_path}/a.db").create_flask_app()
    FlaskRuntime(Echo()).create_flask_app()
    assert {path.name for path in tmp_path.glob("*.db")} == {"a.db", "user_session.db"}


def test_a_stream_ends_with_an_error_event_where_the_answer_cannot_be_written(tmp_path: Path) -> None:
    class Circular(Component):
        def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
            extra: dict[str, Any] = {}
            extra["itself"] = extra
            return AnswerMessage(iter(["a"]), extra=extra)

    client = FlaskRuntime(Circular(), f"sqlite:///{tmp_path}/a.db").create_flask_app().test_client()
    response = client.post("/chat", json={"message": "hi", "stream": True})
    last = json.loads(response.data.decode().strip().rpartition("data: ")[2])
    assert (last["code"], last["result"]) == (500, None)
    assert client.post("/chat", json={"message": "hi"}).status_code == 500
