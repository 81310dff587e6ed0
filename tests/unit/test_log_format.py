"""Lines of a service's log: what stands in them, and what does not."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.unit.engines import ask, async_engine, engine_of
from tests.unit.tracing import Spans

from appbuilder import log_format, logs
from appbuilder.components.playground import Playground
from appbuilder.core.context import log_ids
from appbuilder.core.message import Message
from appbuilder.core.user_session import UserSession
from appbuilder.errors import InvalidRequest, ModelUnavailable
from appbuilder.models.failures import Failure, describe_failure
from appbuilder.testing import Fault, FaultyModel, ScriptedModel, model_named

CANARY = "CANARY-5b1e"
TOUCHED = ("", "appbuilder", "appbuilder.access", "uvicorn", *logs._QUIET)

Lines = Callable[[], list[str]]


def without_pytest() -> None:
    """Takes pytest's own handlers off the root logger; it puts them there anew for each phase of a test."""
    root = logging.getLogger()
    root.handlers[:] = [each for each in root.handlers if not type(each).__module__.startswith("_pytest")]


@pytest.fixture
def untouched() -> Iterator[None]:
    """Loggers belong to the process: afterwards they are as they were."""
    without_pytest()
    loggers = [logging.getLogger(name) for name in TOUCHED]
    before = [(each, each.level, each.propagate, list(each.handlers)) for each in loggers]
    yield
    logs._texts_wanted = False
    for each, level, propagate, handlers in before:
        each.setLevel(level)
        each.propagate, each.handlers[:] = propagate, handlers


@pytest.fixture
def configure(untouched: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Lines]:
    """Configures the log of a service; gives what reads its lines."""

    def make(
        form: str = "json", level: str = "DEBUG", *, texts: bool = False, requests: bool = True, **more: bool
    ) -> Lines:
        out = io.StringIO()
        without_pytest()
        monkeypatch.setattr("sys.stderr", out)
        logs.configure_service(level, form=form, texts=texts, requests=requests, turn_ids=log_ids, **more)
        return lambda: out.getvalue().splitlines()

    return make


def read(lines: Lines) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines()]


def test_a_json_line_says_when_where_and_what(configure: Callable[..., Lines]) -> None:
    lines = configure()
    logs.logger.warning("two\nlines of %s", "数", extra={"request_id": "r-1"})
    [line] = read(lines)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line.pop("pid") > 0
    assert line == {
        "level": "WARNING", "logger": "appbuilder", "message": "two\nlines of 数", "request_id": "r-1"
    }


def test_a_text_line_has_the_ids_there_are(configure: Callable[..., Lines]) -> None:
    lines = configure("text")
    logs.logger.warning("with", extra={"request_id": "r-1", "session_id": "s-1", "run_id": "x"})
    logs.logger.warning("without")
    with_ids, without = lines()
    assert re.search(
        r"Z WARNING appbuilder with \[request_id=r-1 session_id=s-1 run_id=x\]$", with_ids
    )
    assert without.endswith("Z WARNING appbuilder without")


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_a_component_logs_in_its_turn_has_the_turn_s_ids(
    form: str, asynchronous: bool, configure: Callable[..., Lines]
) -> None:
    lines = configure(form)

    def script(message: Message[Any], stream: bool) -> str:
        logging.getLogger("my.program").info("at work")
        return "a"

    async def awaited(message: Message[Any], stream: bool) -> str:
        return script(message, stream)

    engine = async_engine(awaited)[0] if asynchronous else engine_of(script)[0]
    run = engine.start(ask(session_id="s-1", request_id="r-1"))
    run.log.wait_outcome()
    [line] = lines()
    for name, value in (("request_id", "r-1"), ("session_id", "s-1"), ("run_id", run.request.run_id)):
        assert f'"{name}":"{value}"' in line or f"{name}={value}" in line
    logging.getLogger("my.program").info("outside")
    assert "r-1" not in lines()[-1]


def test_a_turn_that_fails_is_told_with_ids_and_trace(configure: Callable[..., Lines], spans: Spans) -> None:
    lines = configure()

    def script(message: Message[Any], stream: bool) -> str:
        raise ValueError("no")

    engine, _, _ = engine_of(script)
    run = engine.execute(ask(request_id="r-1"))
    [line] = read(lines)
    turn = spans["invoke_agent Scripted"]
    assert turn.context is not None
    assert line["error"] == "ValueError"
    assert (line["request_id"], line["session_id"], line["run_id"]) == ("r-1", "s", run.request.run_id)
    assert (line["trace_id"], line["span_id"]) == (f"{turn.context.trace_id:032x}",
                                                   f"{turn.context.span_id:016x}")


# No texts


def failing(text: str) -> str:
    """Raises an error with *text*, caused by another, with a third in its context."""
    try:
        try:
            raise KeyError(f"context {text}")
        except KeyError:
            raise OSError(f"cause {text}")  # noqa: B904 - so that it has a context
    except OSError as error:
        raise ValueError(f"error {text}") from error


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("of", ["component", "iterator", "append", "their own log"])
def test_no_text_of_a_user_reaches_the_log_by_an_error(
    form: str, of: str, configure: Callable[..., Lines]
) -> None:
    lines = configure(form)

    def script(message: Message[Any], stream: bool) -> Any:
        if of == "component":
            failing(message.content)
        if of == "append":
            UserSession().append({"k": Message(_Unwritable(message.content))})
        if of == "their own log":
            try:
                failing(message.content)
            except ValueError:
                logging.getLogger("my.program").exception("went wrong")
        return Message(failing(message.content) for _ in range(1)) if of == "iterator" else "a"

    engine, _, _ = engine_of(script, attempts=1)
    engine.start(ask(message=CANARY, stream=of == "iterator")).log.wait_outcome()
    written = "\n".join(lines())
    assert CANARY not in written
    if of != "append":
        assert "in failing" in written, "a traceback still says where"
        assert written.count(log_format.WITHHELD) == 3


class _Unwritable:
    """Something that cannot be written, and says its text about it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        raise ValueError(self.text)

    __repr__ = __str__


def test_groups_of_errors_say_no_texts_either(configure: Callable[..., Lines]) -> None:
    lines = configure("text")

    class Group(Exception):  # as ExceptionGroup of Python 3.11
        exceptions = (ValueError(CANARY), OSError(CANARY))

    logs.logger.error("x", exc_info=Group(CANARY))
    written = "\n".join(lines())
    assert CANARY not in written
    assert "ValueError: (" in written
    assert "OSError: (" in written


def test_our_own_errors_say_what_they_say_where_nobody_put_words_into_them(
    configure: Callable[..., Lines]
) -> None:
    lines = configure("text")
    for error in (ModelUnavailable("gone"), InvalidRequest(CANARY)):
        try:
            describe_failure(Failure(error), [])
        except (ModelUnavailable, InvalidRequest):
            logs.logger.exception("told by this package")
    try:
        raise ModelUnavailable(CANARY)
    except ModelUnavailable:
        logs.logger.exception("told by a component")
    written = "\n".join(lines())
    assert "appbuilder.errors.ModelUnavailable: gone" in written
    assert CANARY not in written


def test_a_model_call_that_fails_says_nothing_of_its_prompt(configure: Callable[..., Lines]) -> None:
    lines = configure()
    play = Playground("{query}", model="m")
    engine, _, _ = engine_of(lambda message, stream: play.run(message), attempts=1)
    with model_named("m", FaultyModel(ScriptedModel(), Fault(RuntimeError(CANARY)))):
        engine.execute(ask(message=CANARY))
    assert CANARY not in "\n".join(lines())


@pytest.mark.parametrize("form", ["json", "text"])
def test_texts_are_there_where_they_are_asked_for(form: str, configure: Callable[..., Lines]) -> None:
    lines = configure(form, "INFO", texts=True)

    def script(message: Message[Any], stream: bool) -> str:
        if message.content != "well":
            failing(CANARY)
        return "said"

    engine, _, _ = engine_of(script)
    engine.execute(ask(message="well"))
    told = "\n".join(lines())
    if form == "json":
        [line] = read(lines)
        assert line["texts"] == {"message": "well", "answer": "said"}
        assert line["session_id"] == "s"
    else:
        assert "message: well" in told
        assert "answer: said" in told
    engine.execute(ask(message="ill"))
    assert f"error {CANARY}" in "\n".join(lines())


@pytest.mark.parametrize("form", ["json", "text"])
def test_during_development_there_are_the_texts_of_errors_alone(
    form: str, configure: Callable[..., Lines]
) -> None:
    lines = configure(form, "INFO", error_texts=True)

    def script(message: Message[Any], stream: bool) -> str:
        if message.content != "well":
            failing(CANARY)
        return "said"

    engine, _, _ = engine_of(script)
    engine.execute(ask(message="well"))
    assert lines() == []
    engine.execute(ask(message="ill"))
    assert f"error {CANARY}" in "\n".join(lines())


# Whose lines


def test_libraries_that_write_whole_requests_down_are_quiet(configure: Callable[..., Lines]) -> None:
    lines = configure(level="DEBUG")
    logging.getLogger("openai").debug(CANARY)
    logging.getLogger("httpx2").info(CANARY)
    logging.getLogger("my.library").debug(CANARY)
    assert lines() == []
    logging.getLogger("openai").warning("slow down")
    logs.logger.debug("ours")
    assert [line["message"] for line in read(lines)] == ["slow down", "ours"]


def test_a_program_that_set_its_root_logger_keeps_its_lines(
    configure: Callable[..., Lines]
) -> None:
    theirs = io.StringIO()
    root = logging.getLogger()
    root.addHandler(logging.StreamHandler(theirs))
    root.setLevel("INFO")
    lines = configure()
    logging.getLogger("my.program").info("mine")
    logs.logger.info("ours")
    logging.getLogger("uvicorn.error").info("the server's")
    assert theirs.getvalue() == "mine\n"
    assert [line["message"] for line in read(lines)] == ["ours", "the server's"]


@pytest.mark.parametrize(
    ("requests", "level", "count"), [(True, "DEBUG", 2), (True, "INFO", 1), (False, "DEBUG", 0)]
)
def test_lines_of_requests_are_asked_for(
    requests: bool, level: str, count: int, configure: Callable[..., Lines]
) -> None:
    lines = configure(level=level, requests=requests)
    logs.access.info("a turn")
    logs.access.debug("a probe")
    assert len(lines()) == count


def test_to_configure_twice_writes_each_line_once(configure: Callable[..., Lines]) -> None:
    configure("text")
    lines = configure("json")
    logs.logger.info("once")
    logs.access.info("and once")
    assert [line["message"] for line in read(lines)] == ["once", "and once"]
