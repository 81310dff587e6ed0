"""Stops turns that take longer than the service lets them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from appbuilder import clock
from appbuilder.engine.turn import Turn
from appbuilder.errors import TurnTimeout

LOOK_EVERY = 0.25
"""Seconds between two looks at the turns under way, more where the deadline is far; besides these a turn
costs nothing to watch."""
_FORCED_GRACE = 1.0
"""Seconds between asking a turn to stop and taking its last steps for a component that does not come back."""


class RunDeadlines:
    """Looks at the turns under way while there are any.

    :param timeout: seconds a turn may take, waiting for its session included; 0: as long as it likes.
    :param live: gives the turns under way.
    """

    def __init__(self, timeout: float, live: Callable[[], Sequence[Turn]]) -> None:
        self._timeout = timeout
        self._live = live
        self._lock = threading.Lock()
        self._looking = False

    def watch(self) -> None:
        """A turn has begun."""
        if not self._timeout or self._looking:
            return
        with self._lock:
            if not self._looking:
                self._looking = True
                threading.Thread(target=self._check_once, name="appbuilder-deadlines", daemon=True).start()

    def _check_once(self) -> None:
        pause = threading.Event()
        while self._any_live():
            pause.wait(min(self._timeout, max(LOOK_EVERY, self._timeout / 1000)))
            latest = clock.monotonic() - self._timeout
            for turn in self._live():
                if turn.began >= latest:
                    continue
                if not turn.token.cancelled:
                    turn.cancel(TurnTimeout(f"The answer took longer than {self._timeout:g} seconds."))
                elif turn.began < latest - _FORCED_GRACE:
                    turn.force_end()

    def _any_live(self) -> bool:
        with self._lock:
            self._looking = bool(self._live())
            return self._looking
