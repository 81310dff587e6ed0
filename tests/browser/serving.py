"""The pages of ``tests.browser.apps.page`` as server processes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.browser.stage import Stage
from tests.process.server import Server, start
from tests.process.serving import free_port, rows, settings

TURN_KEY = "_appbuilder.turn"


def serve_page(
    folder: Path,
    component: str = "puppet",
    *,
    stage: Stage | None = None,
    page: Mapping[str, Any] = {},
    port: int | None = None,
    tool: tuple[str, Mapping[str, Any]] | None = None,
    **given: str,
) -> Server:
    """A page whose working directory is ``work`` in *folder*, its cache ``cache``, its database ``chat.db``.

    :param page: members of ``Page``.
    :param tool: serves the debug page: query name and further arguments of ``tool_eval``.
    :param given: further environment; see :func:`tests.process.serving.settings`.
    """
    work = folder / "work"
    work.mkdir(exist_ok=True)
    env = settings(folder, **{"CACHE_DIR": str(folder / "cache"), **given})
    env |= {"COMPONENT": component, "PAGE": json.dumps(page)}
    if "API_PORT" in given:
        env["API_PORT"] = given["API_PORT"]
    if tool is not None:
        env["TOOL"] = json.dumps(tool)
    if stage is not None:
        env["STAGE"] = str(stage.port)
    return start(work, [sys.executable, "-m", "tests.browser.apps.page"], port=port or free_port(), env=env)


def serve_service(
    folder: Path, component: str = "puppet", *, stage: Stage | None = None, **given: str
) -> Server:
    """A service, chat page and admin page included, in folders as those of a page."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    env = settings(folder, **{"CACHE_DIR": str(folder / "cache"), **given}) | {"COMPONENT": component}
    if stage is not None:
        env["STAGE"] = str(stage.port)
    return start(work, [sys.executable, "-m", "tests.browser.apps.service"], port=free_port(), env=env)


def database(server: Server) -> str:
    """The URL of the page's database."""
    return f"sqlite:///{server.folder.parent}/chat.db"


def stored(server: Server, key: str, *, deleted: bool = False, **where: str) -> list[Mapping[str, Any]]:
    """The rows of a key in the page's database, in their order."""
    given = "".join(f" AND {name} = :{name}" for name in where)
    found = rows(database(server), f"message_key = :message_key{given}", message_key=key, **where)
    return [row for row in found if bool(row["deleted"]) == deleted]
