"""``appbuilder serve``."""

from __future__ import annotations

import os
import socket
import sys
from typing import Annotated

import typer

from appbuilder.cli.options import with_settings
from appbuilder.settings import Settings


@with_settings()
def serve(
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="The agent: app.py:agent or package.module:agent."),
    ],
    *,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload",
            help="Restart when a Python file below this folder changes.",
            rich_help_panel="Service",
        ),
    ] = False,
    settings: Settings,
) -> None:
    """Serve an agent: HTTP API, chat page and sessions on one port."""
    from appbuilder.serve.auth.authenticator import check_exposure
    from appbuilder.serve.page.chainlit_setup import no_page, with_page
    from appbuilder.serve.server.address import listen

    given, settings = settings, with_page(settings)
    check_exposure(settings, settings.host)
    if given.page is None and not settings.page:
        typer.echo(no_page())
    if reload or settings.workers > 1:
        with listen(settings.host, settings.port) as listener:
            raise typer.Exit(_supervise(target, listener, settings, reload=reload))

    from appbuilder.runtime.loading import load_service

    service = load_service(target, settings)
    with listen(settings.host, settings.port) as listener:
        service.serve(listeners=[listener], ready=lambda: _announce(target, listener, settings))


def _supervise(target: str, listener: socket.socket, settings: Settings, *, reload: bool) -> int:
    """Serves in worker processes, each of which loads *target*; returns the exit status."""
    from appbuilder import logs
    from appbuilder.serve.auth.signing_secret import for_workers
    from appbuilder.serve.server.metrics_dir import shared_metrics
    from appbuilder.serve.server.signals import signals
    from appbuilder.serve.server.supervisor import RELOADS, Supervisor, check_platform, program_changes

    check_platform(settings.workers)
    logs.configure_service(settings.loglevel, form=settings.log_format, texts=False, turn_ids=dict)
    environ = {**os.environ, **for_workers(settings).to_environ(), **({RELOADS: "1"} if reload else {})}
    # SIGTERM ends this process after the clean-up, not when the supervisor returns.
    with signals(), shared_metrics(environ) as worker_ended:
        supervisor = Supervisor(
            # -P: the current folder does not go before the installed packages.
            [sys.executable, "-P", "-m", "appbuilder.runtime.worker", target],
            listener,
            workers=max(1, settings.workers),
            drain_timeout=settings.drain_timeout,
            environ=environ,
            on_death=worker_ended,
            changed=program_changes() if reload else None,
        )
        return supervisor.run(lambda: _announce(target, listener, settings))


def _announce(target: str, listener: socket.socket, settings: Settings) -> None:
    typer.echo(announcement(target, listener.getsockname()[1], settings))
    sys.stdout.flush()


def announcement(target: str, port: int, settings: Settings) -> str:
    """The URLs of the service, and commands to try it."""
    from appbuilder.serve.server.address import reachable, shown_url

    at = shown_url(reachable(settings.host), port)
    key = ' -H "Authorization: Bearer $APPBUILDER_KEY"' if settings.auth else ""
    everywhere = settings.host or "0.0.0.0"  # noqa: S104 - shown
    lines = [
        f"{target} is served on {shown_url(everywhere, port)}; Ctrl-C stops it.",
        *([f"  page  {at}/"] if settings.page else []),
        f"  API   {at}/chat; OpenAI-compatible: {at}/v1",
        f"  docs  {at}/docs",
        "",
        f"  curl -N {at}/chat{key} -H 'Content-Type: application/json' "
        """-d '{"message": "hello", "stream": true}'""",
        f"  appbuilder chat {at}",
        "",
    ]
    return "\n".join(lines)
