"""The program ``appbuilder``."""

from __future__ import annotations

import sys

from appbuilder.errors import AppBuilderError, ConfigurationError
from appbuilder.serve.server.signals import interrupts

WRONG_USE = 2
"""Exit status for wrong usage or configuration, as in the shell's own programs."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def main() -> None:
    """Runs the verb of the command line.

    An :class:`AppBuilderError` is one sentence on standard error; the exit status is 2 for a
    :class:`ConfigurationError`, otherwise 1.
    """
    try:
        with interrupts():
            _run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run() -> None:
    try:
        from appbuilder.cli.app import app
    except ModuleNotFoundError as missing:
        sys.exit(f"The command line needs {missing.name}: pip install 'appbuilder-runtime[serve]'")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # answers may hold characters that the terminal cannot show
            stream.reconfigure(errors="replace")
    try:
        app()
    except AppBuilderError as error:
        print(error, file=sys.stderr)
        sys.exit(WRONG_USE if isinstance(error, ConfigurationError) else 1)
