"""``appbuilder init``: a first project."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from appbuilder.errors import ConfigurationError

_PROJECT = Path(__file__).with_name("project")
_FILES = {"app.py": "app.txt", "test_app.py": "test_app.txt", "README.md": "README.txt"}
"""File written -> template; templates end in .txt so that no tool takes them for tests or modules."""


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to write to; default: the current one.")] = Path(),
) -> None:
    """Write a first project: an agent, its test, and a README."""
    taken = [name for name in _FILES if (folder / name).exists()]
    if taken:
        raise ConfigurationError(
            f"{' and '.join(str(folder / name) for name in taken)} would be overwritten: "
            "choose another folder, for example: appbuilder init my-agent."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, source in _FILES.items():
            # "x": never overwrite a file that was created meanwhile.
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write((_PROJECT / source).read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{error.filename or folder} cannot be written: {error.strerror}.") from None
    here = folder == Path()
    typer.echo(f"Wrote {', '.join(str(folder / name) for name in _FILES)}. Now try:\n")
    typer.echo("" if here else f"    cd {shlex.quote(str(folder))}\n", nl=False)
    typer.echo("    appbuilder serve app.py:answer --reload\n    python -m unittest")
