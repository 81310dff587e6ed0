"""Every error the package raises, as one tree.

::

    AppBuilderError
    ├── ConfigurationError        the program or its settings are wrong (also a ValueError)
    ├── RequestError              the caller is at fault; the text is written for the caller
    │   ├── InvalidRequest        (also a ValueError)
    │   ├── Unauthenticated
    │   ├── Forbidden
    │   ├── NotFound
    │   ├── MethodNotAllowed
    │   ├── SessionBusy
    │   ├── PayloadTooLarge
    │   ├── UnsupportedMediaType
    │   └── RateLimited
    ├── ServiceUnavailable        try again later
    │   ├── Overloaded
    │   ├── Draining
    │   └── StoreUnavailable
    ├── ModelError                the model server failed
    │   ├── ModelUnavailable
    │   ├── ModelTimeout
    │   └── ModelRejected
    ├── ComponentError            the component raised an error
    │   ├── AnswerError           it returned what cannot be sent (also a ValueError)
    │   └── AnswerTooLarge
    ├── ValueNotStorable          the database cannot hold, or return, a value
    └── TurnCancelled             the turn was stopped
        └── TurnTimeout

Which HTTP status each becomes is decided in one table: :mod:`appbuilder.protocols.errors`.
"""

from __future__ import annotations

from enum import IntEnum


class Audience(IntEnum):
    """Who reads an error: other callers; the user on this machine of a service without
    authentication, who sees the sentences that the log has; that user during development (``--reload``), who
    also sees the texts of the program's own errors.
    """

    STRANGER = 0
    LOCAL = 1
    DEVELOPER = 2


class AppBuilderError(Exception):
    """Base of all errors of this package."""


class ConfigurationError(AppBuilderError, ValueError):
    """A setting, a database URL or an argument of a runtime is wrong; the text says what to do.

    ``reason``: as of a :class:`StoreUnavailable`, where it is the database that cannot be used.
    """

    reason = ""


class RequestError(AppBuilderError):
    """The request cannot be served as it is. Its text is shown to the caller, so it holds no secret.

    ``param`` is the member of the request that is at fault (``messages[0].role``); empty where the
    protocol does not tell it.
    """

    def __init__(self, text: str, *, param: str = "") -> None:
        super().__init__(text)
        self.param = param


class InvalidRequest(RequestError, ValueError):
    """A member of the request has the wrong type, value or size."""


class Unauthenticated(RequestError):
    """No credential where one is needed, or one the model server refused."""


class Forbidden(RequestError):
    """The caller is known and may not do this; or another site's page asks in its reader's name."""


class NotFound(RequestError):
    """There is nothing at this address, or nothing the caller may see."""


class MethodNotAllowed(RequestError):
    """The address exists, the method does not."""

    def __init__(self, text: str, allowed: str = "") -> None:
        super().__init__(text)
        self.allowed = allowed


class SessionBusy(RequestError):
    """Another turn of this session is running and the wait for it is over."""


class PayloadTooLarge(RequestError):
    """The body is larger than the limit."""


class UnsupportedMediaType(RequestError):
    """The body is not uncompressed JSON."""


class RateLimited(RequestError):
    """Too many requests; ``retry_after`` (seconds) says when to try again."""

    def __init__(self, text: str, retry_after: float = 1.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class ServiceUnavailable(AppBuilderError):
    """The service cannot take this now; ``retry_after`` (seconds) says when to try again."""

    def __init__(self, text: str, retry_after: float = 1.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Overloaded(ServiceUnavailable):
    """As many turns as the limit allows are in flight."""


def out_of_memory() -> Overloaded:
    """What a MemoryError is to the caller."""
    return Overloaded("The service has no memory left for this; try again in a moment.", retry_after=1)


class Draining(ServiceUnavailable):
    """The process is shutting down and takes no new turns."""


class StoreUnavailable(ServiceUnavailable):
    """The database did not answer in time, or refused; nothing of the turn was stored.

    ``reason`` is a sentence that any caller may read; the text itself is for the log.
    """

    def __init__(self, text: str, retry_after: float = 1.0, *, reason: str = "") -> None:
        super().__init__(text, retry_after)
        self.reason = reason or "The database does not answer."


class ModelError(AppBuilderError):
    """The model server failed. ``request_id`` is the server's own id of the call, where it sent one."""

    def __init__(self, text: str, *, request_id: str = "") -> None:
        super().__init__(text)
        self.request_id = request_id


class ModelUnavailable(ModelError):
    """The model server could not be reached, broke off, or answered with a 5xx."""


class ModelTimeout(ModelError):
    """The model server did not answer in time."""


class ModelRejected(ModelError):
    """The model server refused the call; ``code`` is its own error code or HTTP status."""

    def __init__(self, text: str, *, code: str | int = "", request_id: str = "") -> None:
        super().__init__(text, request_id=request_id)
        self.code = code


class ComponentError(AppBuilderError):
    """The component raised an error (it is the ``__cause__``), or returned nothing."""


class AnswerError(ComponentError, ValueError):
    """What the component returned or yielded cannot be sent; the text names its type, never a value."""


class AnswerTooLarge(ComponentError):
    """The answer is larger than the limit; of one that came in pieces those before are kept."""


class ValueNotStorable(AppBuilderError):
    """The database cannot hold a value, or cannot return one: the same value fails each time."""


class TurnCancelled(AppBuilderError):
    """The turn was stopped: its reader left, it was stopped, or the process shuts down."""


class TurnTimeout(TurnCancelled):
    """The turn took longer than the service lets one take."""


def is_stop(error: BaseException) -> bool:
    """Whether a turn that ended with this was stopped from outside; otherwise it failed."""
    return isinstance(error, (TurnCancelled, Draining)) and not isinstance(error, TurnTimeout)
