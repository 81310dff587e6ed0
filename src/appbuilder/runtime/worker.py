"""One worker of a service with several: ``python -m appbuilder.runtime.worker TARGET PLACE...``."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence

from appbuilder.errors import ConfigurationError
from appbuilder.runtime.loading import load_service
from appbuilder.serve.server.supervisor import WorkerSlot
from appbuilder.settings import Settings

FAILED = 2
"""Exit status of a worker that is misconfigured."""


def main(arguments: Sequence[str]) -> int:
    """Serves on its socket until it is stopped; the settings are in the environment."""
    target, place = arguments[0], WorkerSlot.read(arguments[1:])
    _end_with_supervisor(place.alive)
    try:
        service = load_service(target, Settings.load())
        service.serve(
            listeners=[socket.socket(fileno=place.listener)],
            place=place,
            ready=lambda: os.write(place.ready, b"1"),
        )
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return FAILED
    return 0


def _end_with_supervisor(alive: int) -> None:
    def watch() -> None:
        os.read(alive, 1)  # nothing is ever written: it returns when the supervisor is gone
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="appbuilder-supervisor", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
