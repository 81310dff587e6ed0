"""Metrics of the package while it works: to a sink, or to none.

The service sets a sink (Prometheus, :mod:`appbuilder.serve.routes.metrics`) before its engine works. Where
none is set, as behind ``FlaskRuntime``, each call does nothing. Metrics hold no text of
users, no id and no name: protocols, outcomes, kinds of errors, route templates, and numbers.
"""

from __future__ import annotations

from typing import Protocol

DONE = "done"
INCOMPLETE = "incomplete"
FAILED = "failed"
REFUSED = "refused"


class Sink(Protocol):
    """Counts. Its methods are called on hot paths, from any thread; they return soon and raise nothing.

    ``door`` is the way a turn came in: ``chat``, ``page``, ``openai`` or ``responses``. Times are seconds.
    """

    def turn_began(self) -> None:
        """A turn was admitted; it is in flight until :meth:`turn_ended`."""

    def turn_ended(self, door: str, outcome: str, pieces: int) -> None:
        """A turn that had begun is over: ``done``, ``incomplete`` (it was stopped) or ``failed``.

        One that was refused while it waited for its session ends as ``refused``.
        """

    def turn_refused(self, door: str) -> None:
        """A turn was refused before it began: a limit, or a request that cannot be served."""

    def turn_waits(self, change: int) -> None:
        """One more turn waits for its session (1), or one less (-1)."""

    def first_piece(self, door: str, seconds: float) -> None:
        """The first piece of an answer is there, *seconds* after the turn was admitted."""

    def gap(self, seconds: float) -> None:
        """A reader of a stream got more, *seconds* after it got the last."""

    def tokens(self, prompt: int, completion: int) -> None:
        """A model has read and written these many tokens."""

    def reader_left(self) -> None:
        """The last reader of a run left before its end."""

    def error(self, kind: str) -> None:
        """A turn was refused, was stopped or failed; *kind* is from :func:`kind_of`."""

    def committed(self, seconds: float, turns: int) -> None:
        """A transaction of *turns* turns was written; the wait for its locks is in *seconds*."""

    def pool_waited(self, seconds: float) -> None:
        """A connection was taken out of the database pool."""

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered to its end; *route* is its template, never the path."""

    def stream(self, change: int) -> None:
        """One more response streams (1), or one less (-1)."""


class _NullSink:
    """The sink that drops everything."""

    def turn_began(self) -> None: ...

    def turn_ended(self, door: str, outcome: str, pieces: int) -> None: ...

    def turn_refused(self, door: str) -> None: ...

    def turn_waits(self, change: int) -> None: ...

    def first_piece(self, door: str, seconds: float) -> None: ...

    def gap(self, seconds: float) -> None: ...

    def tokens(self, prompt: int, completion: int) -> None: ...

    def reader_left(self) -> None: ...

    def error(self, kind: str) -> None: ...

    def committed(self, seconds: float, turns: int) -> None: ...

    def pool_waited(self, seconds: float) -> None: ...

    def request(self, route: str, method: str, status: int, seconds: float) -> None: ...

    def stream(self, change: int) -> None: ...


NOBODY: Sink = _NullSink()
current: Sink = NOBODY
"""The process's sink."""


def report_to(sink: Sink) -> None:
    """Makes *sink* the process's own; :data:`NOBODY` takes it back."""
    global current  # noqa: PLW0603 - one per process, looked up at each call
    current = sink


def refuse(door: str, error: BaseException) -> None:
    """Tells the sink of a turn that was refused before it began."""
    current.turn_refused(door)
    current.error(kind_of(error))


def kind_of(error: BaseException) -> str:
    """The name of the package's class that *error* is: a handful, whatever a component derives from them."""
    for each in type(error).__mro__:
        if each.__module__ == "appbuilder.errors":
            return each.__name__
    return "Exception"
