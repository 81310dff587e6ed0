"""``appbuilder chat``: a conversation in the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from appbuilder.cli.options import with_settings
from appbuilder.cli.output import plain, shown
from appbuilder.errors import AppBuilderError, ConfigurationError
from appbuilder.serve.server.signals import interrupts
from appbuilder.settings import Settings

_HELP = """\
/new            start a new session
/session [ID]   show the id of this session, or continue session ID
/sessions       list the newest sessions
/exit           quit (or Ctrl-D)
Ctrl-C stops the answer. Without an answer in progress it clears the line, and quits if the line is empty."""


KEY = typer.Option(envvar="APPBUILDER_KEY", help="API key or token for the service.", show_default=False)


@with_settings("database", "model")
def chat(
    target: Annotated[
        str,
        typer.Argument(metavar="URL|TARGET", help="URL of a service, or an agent to run (app.py:agent)."),
    ],
    *,
    session: Annotated[str, typer.Option(help="Continue this session.", metavar="ID")] = "",
    key: Annotated[str, KEY] = "",
    settings: Settings,
) -> None:
    """Chat in the terminal, with a service or an agent in this process. Piped input is one message."""
    from appbuilder import logs
    from appbuilder.cli.client import chat_client
    from appbuilder.ids import new_id

    logs.configure("ERROR")  # only errors appear between the answers
    with interrupts() as noted, contextlib.closing(chat_client(target, key, settings)) as other:
        noted.look()
        talk = Terminal(other, session or new_id())
        if sys.stdin.isatty():
            talk.go_on(line_reader())
            command = f"appbuilder chat {target} --session {talk.session_id}"
            typer.echo(f"To continue this session: {command}", err=True)
        else:
            said = sys.stdin.read().strip()
            if not said:
                raise ConfigurationError("Standard input is empty. Example: echo hello | appbuilder chat ...")
            talk.tell(said)


class Terminal:
    """The conversations of one run of ``appbuilder chat``."""

    def __init__(self, partner: Any, session_id: str) -> None:
        self.session_id = session_id
        self._partner = partner

    def go_on(self, read: Callable[[], str | None]) -> None:
        """Answers each line that *read* returns, until it returns None or the user quits."""
        while (line := read()) is not None:
            text = line.strip()
            if text.startswith("/") and not text.startswith("//"):
                if not self._obey(*text[1:].partition(" ")[::2]):
                    return
            elif text:
                self._answer(text.replace("//", "/", 1) if text.startswith("//") else text)

    def tell(self, text: str) -> None:
        """Prints the answer to *text*.

        :raises AppBuilderError: the turn failed.
        """
        with interrupts() as noted, contextlib.closing(self._partner.ask(self.session_id, text)) as pieces:
            for piece in pieces:
                sys.stdout.write(shown(piece))
                sys.stdout.flush()
                noted.look()
        typer.echo()

    def _answer(self, text: str) -> None:
        try:
            self.tell(text)
        except KeyboardInterrupt:
            typer.echo("\n(stopped)", err=True)
        except AppBuilderError as error:
            typer.echo(f"\n{shown(str(error))}", err=True)

    def _obey(self, command: str, argument: str) -> bool:
        """Runs a command; returns False if it ends the program."""
        from appbuilder.ids import new_id

        if command in ("exit", "quit"):
            return False
        if command == "new":
            self.session_id = new_id()
        elif command == "session":
            self.session_id = argument.strip() or self.session_id
            typer.echo(self.session_id)
        elif command == "sessions":
            self._list()
        else:
            typer.echo(_HELP)
        return True

    def _list(self) -> None:
        try:
            for each in self._partner.sessions():
                at = each["updated_at"][:16].replace("T", " ")
                typer.echo(f"{each['session_id']}  {at}  {plain(each['title'])}")
        except AppBuilderError as error:
            typer.echo(str(error), err=True)


def line_reader() -> Callable[[], str | None]:
    """Reads lines with editing and history; the function returns None at the end."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, InMemoryHistory
    from prompt_toolkit.output import create_output

    file = history_file()
    session: PromptSession[str] = PromptSession(
        history=InMemoryHistory() if file is None else FileHistory(str(file)),
        output=create_output(always_prefer_tty=True),
    )

    def read() -> str | None:
        while True:
            try:
                return session.prompt("> ")
            except EOFError:
                return None
            except KeyboardInterrupt:
                if not session.default_buffer.text:
                    return None

    return read


def history_file() -> Path | None:
    """File of the typed lines, readable only by this user; None if it cannot be written."""
    from appbuilder.serve.auth.signing_secret import state_folder

    try:
        path = state_folder() / "chat.history"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    except (OSError, RuntimeError):  # RuntimeError: this user has no home
        return None
    return path
