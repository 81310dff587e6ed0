"""Fixtures every ring may use; and each test in a context of its own."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Generator
from typing import Any

import pytest

from tests import starts
from tests.services.fixtures import database_url, mariadb, postgres  # noqa: F401
from tests.services.sdk import sdk_python  # noqa: F401


def pytest_configure(config: pytest.Config) -> None:
    starts.begin(config)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Reports how many servers were started; a whole run that started too many fails."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    whole = config.args == config.getini("testpaths") and not config.option.keyword
    report = starts.end(config, whole=whole)
    if report.endswith("Too many.") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if report:
        print(f"\n{report}")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """What a test sets (``get_context()`` makes a session for the whole thread) ends with the test."""
    inner = pyfuncitem.obj

    @functools.wraps(inner)
    def apart(*args: Any, **kwargs: Any) -> Any:
        return contextvars.copy_context().run(inner, *args, **kwargs)

    pyfuncitem.obj = apart
    try:
        return (yield)
    finally:
        pyfuncitem.obj = inner
