"""The program ``appbuilder``."""

from __future__ import annotations

import sys

from appbuilder.errors import AppBuilderError, ConfigurationError

WRONG_USE = 2
"""Exit status where the program was called, or set up, wrongly; as the shell's own programs have it."""


def main() -> None:
    """Runs the verb the command line names.

    An error of ours is one sentence on standard error; the exit status is 2 where something is set up
    wrongly, otherwise 1.
    """
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
