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
/new            begin another session
/session [ID]   show this session's id, or go on with that one
/sessions       the newest sessions
/exit           leave (or Ctrl-D)
Ctrl-C stops the answer; where none is under way it clears the line, and leaves where that is empty."""


KEY = typer.Option(envvar="APPBUILDER_KEY", help="API key or token for the service.", show_default=False)


@with_settings("database", "model")
def chat(
    target: Annotated[
        str,
        typer.Argument(metavar="URL|TARGET", help="A service's address, or what answers, as app.py:agent."),
    ],
    *,
    session: Annotated[str, typer.Option(help="Go on with this session.", metavar="ID")] = "",
    key: Annotated[str, KEY] = "",
    settings: Settings,
) -> None:
    """Terminal to a service, or to a component in this process. What is piped in is one message."""
    from appbuilder import logs
    from appbuilder.cli.client import chat_client
    from appbuilder.ids import new_id

    logs.configure("ERROR")  # nothing but what a developer has to see stands between the answers
    with interrupts() as noted, contextlib.closing(chat_client(target, key, settings)) as other:
        noted.look()
        talk = Terminal(other, session or new_id())
        if sys.stdin.isatty():
            talk.go_on(line_reader())
            command = f"appbuilder chat {target} --session {talk.session_id}"
            typer.echo(f"To go on with this session: {command}", err=True)
        else:
            said = sys.stdin.read().strip()
            if not said:
                raise ConfigurationError("Nothing was said: echo hello | appbuilder chat ... says something.")
            talk.tell(said)


class Terminal:
    """One conversation after the other with one partner."""

    def __init__(self, partner: Any, session_id: str) -> None:
        self.session_id = session_id
        self._partner = partner

    def go_on(self, read: Callable[[], str | None]) -> None:
        """Until *read*, which gives the next line, gives None, or the user leaves."""
        while (line := read()) is not None:
            text = line.strip()
            if text.startswith("/") and not text.startswith("//"):
                if not self._obey(*text[1:].partition(" ")[::2]):
                    return
            elif text:
                self._answer(text.replace("//", "/", 1) if text.startswith("//") else text)

    def tell(self, text: str) -> None:
        """Shows the answer.

        :raises AppBuilderError: there is none.
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
        """Whether the conversation goes on."""
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
    """Reads lines that can be edited, with what was typed before; None is the end."""
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
    """What was typed, for this user alone; None: it cannot be kept."""
    from appbuilder.serve.auth.signing_secret import state_folder

    try:
        path = state_folder() / "chat.history"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    except (OSError, RuntimeError):  # RuntimeError: this user has no home
        return None
    return path
