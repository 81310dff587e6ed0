"""``appbuilder sessions``: the sessions in a database."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from appbuilder import clock
from appbuilder.cli.options import with_settings
from appbuilder.cli.output import as_json, plain, shown, table
from appbuilder.core.conversations import (
    Conversation,
    ConversationRepository,
    Owner,
    all_conversations,
    all_rows,
)
from appbuilder.core.message import text_of
from appbuilder.core.store import COMPLETE
from appbuilder.errors import ConfigurationError, InvalidRequest, NotFound
from appbuilder.ids import new_id
from appbuilder.settings import Settings

if TYPE_CHECKING:
    from appbuilder.store.sessions.session_store import SqlStore

sessions = typer.Typer(
    help="List, show, export, import and delete the sessions in a database.", no_args_is_help=True
)

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}

_Ids = Annotated[list[str] | None, typer.Argument(help="Ids of sessions.", metavar="[ID]...")]
_User = Annotated[str, typer.Option(help="Sessions of this user (key, token or login).", metavar="NAME")]
_OwnerName = Annotated[
    str, typer.Option(help="Sessions of this owner: user:ann, local, visitor:...", metavar="OWNER")
]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


class Format(StrEnum):
    """Format of an export."""

    jsonl = "jsonl"
    openai = "openai"


@sessions.command("list")
@with_settings("database")
def list_(
    *,
    user: _User = "",
    owner: _OwnerName = "",
    search: Annotated[str, typer.Option(help="Text in the title.")] = "",
    limit: Annotated[int, typer.Option(help="Maximum number.", min=1)] = 50,
    json: _Json = False,
    settings: Settings,
) -> None:
    """List sessions, newest turn first."""
    from appbuilder.protocols.rest import schemas

    found = list(islice(all_conversations(_open(settings), _owners(user, owner), search), limit))
    if json:
        for each in found:
            as_json(schemas.session(each))
    else:
        table(["session", "owner", "started", "newest turn", "title"],
              [[each.session_id, each.owner, each.created_at, each.updated_at, each.title] for each in found])


@sessions.command()
@with_settings("database")
def show(
    session: Annotated[str, typer.Argument(help="Id of the session.", metavar="ID")],
    *,
    json: _Json = False,
    settings: Settings,
) -> None:
    """Show the turns of a session."""
    from appbuilder.protocols.rest import schemas, transcript

    repository = _open(settings)
    conversation = _find(repository, session)
    if not json:
        owner = f", of {conversation.owner}" if conversation.owner else ""
        typer.echo(f"{plain(conversation.title)}\n{session}{owner}\n")
    for turn in transcript.turns(all_rows(repository, session)):
        said = transcript.turn_view(turn)
        if json:
            as_json(schemas.turn(said, repository.ratings([said.id]).get(said.id)))
            continue
        state = "" if said.state == COMPLETE else f" ({said.state})"
        typer.echo(f"{plain(said.created_at)}{state}\n> {shown(text_of(said.input))}")
        typer.echo(f"{shown(text_of(said.answer))}\n")


@sessions.command()
@with_settings("database")
def export(
    ids: _Ids = None,
    *,
    user: _User = "",
    owner: _OwnerName = "",
    form: Annotated[
        Format, typer.Option("--format", help="jsonl: everything; openai: the messages.")
    ] = Format.jsonl,
    output: Annotated[
        Path | None, typer.Option(help="File to write; default: standard output.", show_default=False)
    ] = None,
    settings: Settings,
) -> None:
    """Write sessions (default: all) as JSON Lines."""
    from appbuilder.protocols.rest.transcript import openai_line, row_line, session_line

    repository = _open(settings)
    chosen = _chosen(repository, ids, _owners(user, owner))
    with _writing(output) as file:
        for each in chosen:
            rows = all_rows(repository, each.session_id)
            if form is Format.openai:
                file.writelines(openai_line(rows))
            else:
                file.write(session_line(each))
                file.writelines(row_line(each.session_id, row) for row in rows)


@sessions.command("import")
@with_settings("database")
def import_(
    file: Annotated[
        Path, typer.Argument(help="An export, or OpenAI messages; -: standard input.")
    ],
    *,
    user: _User = "",
    owner: _OwnerName = "",
    new_ids: Annotated[
        bool, typer.Option("--new-ids", help="Give each session a new id, so that none is skipped.")
    ] = False,
    settings: Settings,
) -> None:
    """Import sessions. A file with an invalid line is refused as a whole."""
    from appbuilder.protocols.rest.transcript import read
    from appbuilder.store.conversations.imports import check, has_turn

    whose = _owners(user, owner)
    with _reading(file) as lines:
        empty = 0
        for each in read(lines, trusted=True):
            if has_turn(each.rows):
                check(each.conversation.session_id, each.rows)
            else:
                empty += 1
        lines.seek(0)
        repository = _open(settings, must_exist=False)
        brought, existing = 0, []
        for each in read(lines, trusted=True):
            if not has_turn(each.rows):
                continue
            listed = each.conversation
            session_id = new_id() if new_ids else listed.session_id
            if repository.find(session_id) is not None:
                existing.append(session_id)
                continue
            repository.import_rows(session_id, whose[0] if whose else listed.owner, listed.title, each.rows)
            brought += 1
    typer.echo(f"Imported {_count(brought)}.")
    if existing:
        typer.echo(f"Skipped, because they exist already: {', '.join(existing)}", err=True)
    if empty:
        typer.echo(f"Skipped, because they have no turns: {_count(empty)}.", err=True)


@sessions.command()
@with_settings("database")
def delete(
    ids: _Ids = None, *, user: _User = "", owner: _OwnerName = "", yes: _Yes = False, settings: Settings
) -> None:
    """Delete sessions; or erase all sessions of a user, including deleted ones.

    Turns of a running service in these sessions are stopped first.
    """
    from appbuilder.engine.cancel_runs import cancel_runs

    whose = _owners(user, owner)
    if bool(ids) == bool(whose):
        raise ConfigurationError("Pass ids of sessions, or --user to erase all sessions of a user.")
    store = _database(settings)
    repository, register = store.repository(), store.run_register()
    if whose:
        who = whose[0]
        _ask(f"Erase all sessions of {who}? This cannot be undone.", yes=yes)
        cancel_runs(register, lambda run: run.owner == who)
        erased = repository.erase(who)
        if who is not None:
            store.transcripts().forget(who)
        typer.echo(f"Erased {_count(erased)} of {who}.")
        return
    chosen = _chosen(repository, ids, None)
    found = [each.session_id for each in chosen]
    _ask(f"Delete {_count(len(found))}?", yes=yes)
    cancel_runs(register, lambda run: run.session_id in found)
    typer.echo(f"Deleted {_count(sum(repository.delete(each) for each in found))}.")


@sessions.command()
@with_settings("database")
def prune(
    *,
    older_than: Annotated[
        str, typer.Option(help="Age of the newest turn: 12h, 30d, 4w.", metavar="AGE")
    ],
    yes: _Yes = False,
    settings: Settings,
) -> None:
    """Erase sessions without a newer turn, including deleted ones."""
    before = clock.now() - age(older_than)
    _ask(f"Erase all sessions without a turn since {plain(before)} (UTC)?", yes=yes)
    typer.echo(f"Erased {_count(_open(settings).prune(before))}.")


def age(text: str) -> timedelta:
    """The time that ``30d``, ``12h`` or ``4w`` stands for.

    :raises ConfigurationError: *text* has another form.
    """
    found = re.fullmatch(r"([0-9]{1,5})([hdw])", text)
    if found is None:
        raise ConfigurationError(f"--older-than must be an age such as 12h, 30d or 4w; it is {text!r}.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _open(settings: Settings, *, must_exist: bool = True) -> ConversationRepository:
    return _database(settings, must_exist=must_exist).repository()


def _database(settings: Settings, *, must_exist: bool = True) -> SqlStore:
    from appbuilder.cli.database import open_database

    return open_database(settings, must_exist=must_exist)


def _owners(user: str, owner: str) -> list[Owner] | None:
    """The owners whose sessions are selected; None: all."""
    if user and owner:
        raise ConfigurationError("Pass --user or --owner, not both.")
    return [f"user:{user}"] if user else [owner] if owner else None


def _chosen(
    repository: ConversationRepository, ids: list[str] | None, owners: list[Owner] | None
) -> Iterable[Conversation]:
    """:raises NotFound: a session of *ids* does not exist."""
    if not ids:
        return all_conversations(repository, owners)
    if owners is not None:
        raise ConfigurationError("Pass ids of sessions, or an owner, not both.")
    return [_find(repository, each) for each in dict.fromkeys(ids)]


def _find(repository: ConversationRepository, session_id: str) -> Conversation:
    found = repository.find(session_id)
    if found is None:
        raise NotFound(f"There is no session {session_id!r}.")
    return found


def _ask(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{question} Standard input is not a terminal: pass --yes.")
    typer.confirm(question, abort=True)


def _count(number: int) -> str:
    return "one session" if number == 1 else f"{number} sessions"


@contextmanager
def _writing(path: Path | None) -> Iterator[IO[bytes]]:
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with path.open("xb") as file:
            path.chmod(0o600)  # it holds conversations
            yield file
    except FileExistsError:
        raise ConfigurationError(f"{path} exists already. Choose another file.") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None


@contextmanager
def _reading(path: Path) -> Iterator[IO[bytes]]:
    """Opens *path* (or a copy of standard input) so that it can be read twice."""
    try:
        with tempfile.TemporaryFile() if str(path) == "-" else path.open("rb") as file:
            if str(path) == "-":
                shutil.copyfileobj(sys.stdin.buffer, file)
                file.seek(0)
            yield file
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error}") from None
