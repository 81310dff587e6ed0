"""The command line, run in this process."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from unittest import mock

import pytest

from appbuilder.cli.main import main


@dataclass(frozen=True)
class Ran:
    """How a verb ended, and what it wrote."""

    status: int
    out: str
    err: str


class CommandLine:
    """Runs ``appbuilder ...``; the environment is as before afterwards."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, **environ: str) -> Ran:
        self._capsys.readouterr()
        status: object = 0
        with mock.patch.dict(os.environ, environ), mock.patch.object(sys, "argv", ["appbuilder", *arguments]):
            try:
                main()
            except SystemExit as error:
                status = error.code
        written = self._capsys.readouterr()
        if isinstance(status, str):
            return Ran(1, written.out, written.err + status)
        assert status is None or isinstance(status, int)
        return Ran(status or 0, written.out, written.err)
