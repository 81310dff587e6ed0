"""Where ``serve`` is called from, and what it may do there."""

from __future__ import annotations

import asyncio
import os
import threading


def owns_process() -> bool:
    """Whether the process is ours to rule: the main thread, and no event loop running in it.

    Jupyter runs cells in a running loop; signals reach the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


def may_fork() -> bool:
    """Whether gunicorn can run here: it forks its workers and rules by signals."""
    return hasattr(os, "fork") and owns_process()
