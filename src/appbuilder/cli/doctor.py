"""``appbuilder doctor``: checks a deployment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from appbuilder.cli.chat_verb import KEY
from appbuilder.cli.options import with_settings
from appbuilder.cli.output import as_json, table
from appbuilder.settings import Settings

if TYPE_CHECKING:
    from appbuilder.cli.local_checks import Check

_MARKS = {True: "ok", False: "FAILED", None: "-"}


@with_settings()
def doctor(
    target: Annotated[
        str,
        typer.Argument(
            metavar="URL|TARGET",
            help="Public URL of a service; or the agent to serve (app.py:agent), on its machine.",
        ),
    ],
    *,
    message: Annotated[
        str, typer.Option(help="Test message; best one with a long answer.")
    ] = "Count from one to twenty, in words.",
    key: Annotated[str, KEY] = "",
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    settings: Settings,
) -> None:
    """Check a deployment. The exit status is 1 if a check failed."""
    found = list(_checks(target, key, message, settings))
    well = all(check.ok is not False for check in found)
    if json:
        as_json({"ok": well, "checks": [asdict(check) for check in found]})
    else:
        table(["", "check", "found"], [[_MARKS[check.ok], check.name, check.text] for check in found])
    if not well:
        raise typer.Exit(1)


def _checks(target: str, key: str, message: str, settings: Settings) -> Iterator[Check]:
    from appbuilder.cli import local_checks, remote_checks
    from appbuilder.cli.client import RemoteClient, is_address

    if not is_address(target):
        yield from local_checks.checks(target, settings)
        return
    with contextlib.closing(RemoteClient(target, key)) as remote:
        yield from remote_checks.checks(remote, message)
