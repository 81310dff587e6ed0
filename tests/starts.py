"""Counts the server processes that the tests start, over all processes of pytest."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest

MOST = 300
"""Starts of a whole run; more fail it. To be lowered: each costs half a second to two."""
_FILE = "TESTS_COUNT_STARTS"


def note() -> None:
    """Counts one start for the test that runs."""
    if path := os.environ.get(_FILE):
        test = os.environ.get("PYTEST_CURRENT_TEST", "-").partition("::")[0]
        with open(path, "a") as file:  # one short line: it is appended whole
            file.write(f"{test}\n")


def begin(config: pytest.Config) -> None:
    """Makes the file in which all workers count; they inherit its name."""
    if not hasattr(config, "workerinput"):
        descriptor, path = tempfile.mkstemp(prefix="starts-")
        os.close(descriptor)
        os.environ[_FILE] = path


def counted() -> Counter[str]:
    """How many servers the tests of each file have started."""
    return Counter(Path(os.environ[_FILE]).read_text().split())


def end(config: pytest.Config, *, whole: bool) -> str:
    """The report, for the process that the user has started; empty: there is nothing to say.

    :param whole: whether all tests were run.
    """
    found = counted()
    Path(os.environ.pop(_FILE)).unlink()
    if not found:
        return ""
    most = ", ".join(f"{Path(name).name} {count}" for name, count in found.most_common(12))
    text = f"{found.total()} servers were started (at most {MOST}): {most}"
    return f"{text}\nToo many." if whole and found.total() > MOST else text
