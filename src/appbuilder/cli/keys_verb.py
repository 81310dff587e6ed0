"""``appbuilder keys``: the API keys of a service."""

from __future__ import annotations

from typing import Annotated

import typer

from appbuilder.cli.options import with_settings
from appbuilder.cli.output import as_json, table
from appbuilder.core.api_keys import ApiKeys
from appbuilder.errors import NotFound
from appbuilder.settings import Settings

keys = typer.Typer(help="API keys of the service (--auth keys).", no_args_is_help=True)

_MEMBERS = ("id", "name", "user", "administrator", "created_at", "revoked_at")


def _keys(settings: Settings, *, must_exist: bool = True) -> ApiKeys:
    from appbuilder.cli.database import open_database

    return open_database(settings, must_exist=must_exist).keys()


@keys.command()
@with_settings("database")
def add(
    name: Annotated[str, typer.Argument(help="Name of the key.")],
    *,
    user: Annotated[str, typer.Option(help="User of the key; default: NAME.")] = "",
    administrator: Annotated[
        bool, typer.Option("--administrator", help="The key may see all sessions.")
    ] = False,
    settings: Settings,
) -> None:
    """Add a key. The secret is printed once, on standard output."""
    key, secret = _keys(settings, must_exist=False).add(name, user or name, administrator=administrator)
    typer.echo(f"Key {key.name} of user {key.user}. Send it as: Authorization: Bearer <key>", err=True)
    typer.echo(secret)


@keys.command("list")
@with_settings("database")
def list_(
    *,
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per key.")] = False,
    settings: Settings,
) -> None:
    """List all keys, including revoked ones."""
    found = _keys(settings).list()
    if json:
        for key in found:
            as_json({name: getattr(key, name) for name in _MEMBERS})
    else:
        table(_MEMBERS, [[getattr(key, name) or None for name in _MEMBERS] for key in found])


@keys.command()
@with_settings("database")
def revoke(
    key: Annotated[str, typer.Argument(help="Name or id of the key.", metavar="NAME|ID")],
    *,
    settings: Settings,
) -> None:
    """Revoke a key. Every process refuses it within 2 seconds."""
    if not _keys(settings).revoke(key):
        raise NotFound(f"There is no valid key {key!r}.")
    typer.echo(f"Revoked {key}.")
