"""gunicorn's thread worker as ours: what a signal between two steps of it does."""

from __future__ import annotations

from typing import Any

import pytest
from gunicorn.workers.gthread import ThreadWorker

from appbuilder.serve.wsgi.gunicorn_threads import Threads


@pytest.mark.parametrize("parent", [True, False])
def test_sigterm_while_it_looks_for_its_master_is_not_lost(
    parent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker: Any = Threads.__new__(Threads)
    worker.alive = True

    def look(self: Any) -> bool:
        self.alive = False  # what gunicorn's handler of SIGTERM does
        return parent

    monkeypatch.setattr(ThreadWorker, "is_parent_alive", look)
    assert not worker.is_parent_alive()
    assert not worker.alive
