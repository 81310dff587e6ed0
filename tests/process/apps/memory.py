"""A service whose address space is limited, as ``ulimit -v`` does. X-User names the caller. With
SERVE_BY=flask: FlaskRuntime instead.

A message is echoed; ``{"pieces": n, "size": bytes}`` is answered with so many pieces of that size, with
``"whole": true`` at once; ``"out of memory"`` raises a MemoryError.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import sys
from typing import Any

from appbuilder import Message
from appbuilder.core.component import Component
from appbuilder.runtime.service_runtime import Hooks, ServiceRuntime
from appbuilder.utils.flask_deploy import FlaskRuntime

LIMIT = 900_000 * 1024


class Says(Component):
    """Says as much as it is asked for."""

    def run(self, message: Message[Any], stream: bool = False) -> Message[Any]:
        said = message.content
        if said == "out of memory":
            raise MemoryError
        if not isinstance(said, dict) or "pieces" not in said:
            return Message(said)
        piece, count = "x" * said["size"], said["pieces"]
        return Message(piece * count if said.get("whole") else (piece for _ in range(count)))


def who(request: Any) -> Any:
    """The user a proxy names."""
    return request.headers.get("x-user")


if __name__ == "__main__":
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    if os.environ.get("SERVE_BY") == "flask":
        FlaskRuntime(Says(), os.environ["DATABASE"]).serve("127.0.0.1", False, int(os.environ["PORT"]))
        sys.exit()
    runtime = ServiceRuntime(Says(), os.environ["DATABASE"], hooks=Hooks(auth=who))
    runtime.serve(port=int(os.environ["PORT"]))
