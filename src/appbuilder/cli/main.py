"""The program ``appbuilder``."""

from __future__ import annotations

import sys

from appbuilder.errors import AppBuilderError, ConfigurationError
from appbuilder.serve.server.signals import interrupts

WRONG_USE = 2
"""Exit status where the program was called, or set up, wrongly; as the shell's own programs have it."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, where nothing was there to be ended in order; as shells have it, too."""


def main() -> None:
    """Runs the verb the command line names.

    An error of ours is one sentence on standard error; the exit status is 2 where something is set up
    wrongly, otherwise 1.
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
        if hasattr(stream, "reconfigure"):  # what a component says may be more than the terminal can show
            stream.reconfigure(errors="replace")
    try:
        app()
    except AppBuilderError as error:
        print(error, file=sys.stderr)
        sys.exit(WRONG_USE if isinstance(error, ConfigurationError) else 1)
