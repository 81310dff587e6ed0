"""gunicorn's gevent worker, with deadlines for clients and an end for turns. Needs the extra ``gevent``."""

from __future__ import annotations

import contextlib
import os
import warnings
from typing import Any

from gevent.monkey import MonkeyPatchWarning
from gunicorn.workers.base import Worker
from gunicorn.workers.ggevent import GeventWorker

from appbuilder.serve.wsgi.gunicorn_threads import DrainingWorker
from appbuilder.serve.wsgi.socket_deadlines import DeadlineSocket


class _Connection(DeadlineSocket):
    def close(self) -> None:
        """gunicorn closes at once; in the connection's own greenlet there is time to do it well."""
        self.finish()


class Greenlets(DrainingWorker, GeventWorker):
    """A greenlet per connection."""

    def patch(self) -> None:
        """gevent's warning that it comes late is not for the user: what it names is mended."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MonkeyPatchWarning)
            super().patch()

    def notify(self) -> None:
        """Ends in order, instead of at once, when the master is gone."""
        Worker.notify(self)
        if self.ppid != os.getppid():
            self.alive = False
        if not self.alive:
            self._begin_drain()

    def timeout_ctx(self) -> Any:
        """gunicorn's time-out for the next request; the socket has its own."""
        return contextlib.nullcontext()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serves one connection; runs in a greenlet."""
        super().handle(listener, _Connection(client, self.limits, lambda: self.alive), addr)
