"""Fixtures every ring may use; and each test in a context of its own."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Generator
from typing import Any

import pytest

from tests.services.fixtures import database_url, mariadb, postgres  # noqa: F401
from tests.services.sdk import sdk_python  # noqa: F401


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
