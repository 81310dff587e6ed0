"""The command line's verbs. Importing this loads nothing that only one verb needs."""

from __future__ import annotations

from typing import Annotated

import typer

from appbuilder._version import __version__
from appbuilder.cli.chat_verb import chat
from appbuilder.cli.doctor import doctor
from appbuilder.cli.init import init
from appbuilder.cli.keys_verb import keys
from appbuilder.cli.options import EPILOG, GroupedCommand
from appbuilder.cli.serve_verb import serve
from appbuilder.cli.sessions_verb import sessions

app = typer.Typer(
    name="appbuilder",
    help="Serve a Python agent as an HTTP API and a chat page.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


app.command()(init)
app.command(cls=GroupedCommand, epilog=EPILOG)(serve)
app.command()(chat)
app.add_typer(sessions, name="sessions")
app.add_typer(keys, name="keys")
app.command(cls=GroupedCommand, epilog=EPILOG)(doctor)
