"""Calls functions of the program's own, whatever they are and however they end."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from anyio import fail_after, to_thread

from appbuilder.errors import AppBuilderError, ServiceUnavailable
from appbuilder.logs import logger

HOOK_WAIT = 10.0
"""Seconds a function may take."""


async def call_hook(setting: str, hook: Callable[..., Any], *args: Any) -> Any:
    """What *hook* returns. A synchronous one runs in a thread.

    :param setting: the variable that names it, for the log.
    :raises AppBuilderError: what it raised.
    :raises ServiceUnavailable: it failed in another way, or took too long.
    """
    try:
        with fail_after(HOOK_WAIT):
            if inspect.iscoroutinefunction(hook):
                return await hook(*args)
            found = await to_thread.run_sync(lambda: hook(*args), abandon_on_cancel=True)
            return await found if isinstance(found, Awaitable) else found
    except AppBuilderError:
        raise
    except Exception as error:  # noqa: BLE001 - of the program's own function
        # Without the error's own words: they may hold what the caller has sent.
        trace = "".join(traceback.format_tb(error.__traceback__))
        logger.error("the function of %s failed with %s:\n%s", setting, type(error).__name__, trace)
        raise ServiceUnavailable("The service cannot decide about this now; try again in a moment.") from None
