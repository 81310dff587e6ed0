"""Clients of ``appbuilder chat``: a service over HTTP, or a component in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from appbuilder import jsontext
from appbuilder.core.message import text_of
from appbuilder.errors import AppBuilderError, Audience, ConfigurationError, TurnCancelled
from appbuilder.ids import new_row_id
from appbuilder.models.sse_decoder import EventTooLong, SseDecoder
from appbuilder.settings import Settings

if TYPE_CHECKING:
    import httpx2

SILENCE = 60.0
"""Seconds without a byte after which the request fails; a service sends comments more often."""
LISTED = 20
"""Sessions that ``/sessions`` lists."""


class ChatClient(Protocol):
    """Sends messages and lists sessions."""

    def ask(self, session_id: str, text: str) -> Iterator[str]:
        """Yields the chunks of the answer. Closing the iterator early stops the turn.

        :raises AppBuilderError: the turn failed.
        """

    def sessions(self) -> Sequence[Mapping[str, Any]]:
        """The caller's newest sessions, as :func:`appbuilder.protocols.rest.schemas.session` formats them."""

    def close(self) -> None:
        """Releases the connection or the runtime."""


def is_address(target: str) -> bool:
    """Whether *target* is the URL of a service."""
    return target.startswith(("http://", "https://"))


def chat_client(target: str, key: str, settings: Settings) -> ChatClient:
    """A client for *target*: the URL of a service, or an agent to run in this process."""
    return RemoteClient(target, key) if is_address(target) else LocalClient(target, settings)


class RemoteClient:
    """A service, reached over HTTP."""

    def __init__(self, address: str, key: str) -> None:
        """:param key: an API key or a token; empty: no credential is sent."""
        self.base = address.rstrip("/").removesuffix("/chat")
        self.client = client_for(key)

    def ask(self, session_id: str, text: str) -> Iterator[str]:
        import httpx2

        body = {"message": text, "stream": True, "session_id": session_id}
        try:
            with self.client.stream("POST", f"{self.base}/chat", json=body) as response:
                if response.status_code != 200:
                    raise refusal(response.status_code, response.read())
                for event in events(response.iter_raw()):
                    yield text_of(event["answer_message"].get("content"))
        except httpx2.HTTPError as error:
            raise unreachable(self.base, error) from None

    def sessions(self) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self.fetch(f"/sessions?limit={LISTED}")["sessions"]
        return found

    def fetch(self, path: str, method: str = "GET") -> Any:
        """The ``result`` of an answer."""
        import httpx2

        try:
            response = self.client.request(method, self.base + path)
        except httpx2.HTTPError as error:
            raise unreachable(self.base, error) from None
        if response.status_code != 200:
            raise refusal(response.status_code, response.content)
        return json_object(response.content).get("result")

    def close(self) -> None:
        self.client.close()


def client_for(key: str) -> httpx2.Client:
    """An HTTP client that sends *key* and waits while the service sends anything."""
    import httpx2

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx2.Client(headers=headers, timeout=httpx2.Timeout(SILENCE, connect=10.0))


def events(chunks: Iterator[bytes]) -> Iterator[Mapping[str, Any]]:
    """The ``result`` of each event in a stream of POST /chat.

    :raises AppBuilderError: the stream ends with an error, or without its last event.
    """
    decoder = SseDecoder()
    try:
        for chunk in chunks:
            for data in decoder.feed(chunk):
                event = json_object(data)
                if event.get("code") != 0:
                    raise AppBuilderError(str(event.get("message") or "The answer was interrupted."))
                yield event["result"]
                if event["result"].get("is_completion"):
                    return
    except (EventTooLong, KeyError, TypeError):
        raise AppBuilderError("The server at this address is not an AppBuilder Runtime service.") from None
    raise AppBuilderError("The connection was lost before the answer was complete.")


def json_object(body: bytes) -> dict[str, Any]:
    """:raises AppBuilderError: *body* is not a JSON object."""
    try:
        value = jsontext.loads(body, 2 * jsontext.MAX_DEPTH)
    except jsontext.NotJson:
        value = None
    if not isinstance(value, dict):
        raise AppBuilderError("The server at this address is not an AppBuilder Runtime service.")
    return value


def refusal(status: int, body: bytes) -> AppBuilderError:
    """The error of a response, with the message of the service."""
    with contextlib.suppress(AppBuilderError):
        words = json_object(body).get("message")
        if isinstance(words, str) and words:
            hint = " Pass a key with --key or APPBUILDER_KEY." if status == 401 else ""
            return AppBuilderError(words + hint)
    return AppBuilderError(f"The service answered with status {status}.")


def unreachable(address: str, error: Exception) -> AppBuilderError:
    """The error of a failed connection."""
    return AppBuilderError(f"{address} cannot be reached: {str(error) or type(error).__name__}.")


class LocalClient:
    """A component in this process; its sessions are in the database of the settings."""

    def __init__(self, target: str, settings: Settings) -> None:
        from appbuilder.runtime.loading import load_service

        self._runtime = load_service(target, settings)
        self._store = self._runtime._store
        self._store.prepare_conversations()

    def ask(self, session_id: str, text: str) -> Iterator[str]:
        from appbuilder.core.conversations import LOCAL_USER
        from appbuilder.core.events import answer_text
        from appbuilder.engine.persistence import RetentionPolicy
        from appbuilder.engine.reader import LogReader
        from appbuilder.engine.turn_request import TurnRequest

        keep = RetentionPolicy(new_row_id(), LOCAL_USER, _explained)
        request = TurnRequest(text, session_id, stream=True, keep=keep, user_id=LOCAL_USER)
        run = self._runtime._engine.get().start(request)
        outcome = None
        reader = LogReader(run.log)
        try:
            while outcome is None:
                reader.wait(SILENCE)
                if batch := reader.take():
                    outcome = batch.outcome
                    yield answer_text(batch.entries)
        finally:
            reader.close()
            # Closed early: the answer so far is stored.
            run.cancel(TurnCancelled("You stopped the answer."))
            run.log.wait_outcome()
        if outcome.error is not None:
            raise AppBuilderError(_error_text(outcome.error))

    def sessions(self) -> Sequence[Mapping[str, Any]]:
        from appbuilder.core.conversations import LOCAL_USER
        from appbuilder.protocols.rest import schemas

        page = self._store.repository().page([LOCAL_USER, None], limit=LISTED)
        return [schemas.session(each) for each in page.conversations]

    def close(self) -> None:
        self._runtime._drain()


def _explained(error: AppBuilderError) -> Mapping[str, Any]:
    from appbuilder.protocols.errors import explained

    return explained(error, audience=Audience.DEVELOPER)


def _error_text(error: AppBuilderError) -> str:
    """The error with its cause: the user of a local component is its author."""
    cause = error.__cause__
    return str(error) if cause is None or isinstance(error, ConfigurationError) else f"{error} {cause!r}"
