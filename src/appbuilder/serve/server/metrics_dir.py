"""The folder in which several workers keep their metrics, so that any of them answers for all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, MutableMapping

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client knows, when it is imported, that there are several."""


@contextlib.contextmanager
def shared_metrics(environ: MutableMapping[str, str]) -> Iterator[Callable[[int], None]]:
    """Makes the folder for workers started within, and names it in *environ*, which is to be theirs.

    A folder that is named there already is emptied of what workers before left, and kept afterwards.

    :returns: to be called with the process id of each worker that has ended, so that what was open in it
        counts
        no more; what it has counted stays.
    """
    given = environ.get(FOLDER)
    folder = given or tempfile.mkdtemp(prefix="appbuilder-metrics-")
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(folder):
        if name.endswith(".db"):
            os.unlink(os.path.join(folder, name))
    environ[FOLDER] = folder
    try:
        yield lambda process: _ended(process, folder)
    finally:
        if not given:
            del environ[FOLDER]
            shutil.rmtree(folder, ignore_errors=True)


def _ended(process: int, folder: str) -> None:
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(process, folder)  # type: ignore[no-untyped-call]
