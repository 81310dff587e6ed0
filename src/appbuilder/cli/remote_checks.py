"""Checks of a service at a URL, from the outside."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from appbuilder import clock
from appbuilder.cli.client import RemoteClient, events, refusal, unreachable
from appbuilder.cli.local_checks import Check, attempt, ms
from appbuilder.cli.timing import TurnTimes, first_pieces, judge_order, judge_stream
from appbuilder.errors import AppBuilderError
from appbuilder.ids import new_id

if TYPE_CHECKING:
    import httpx2

AT_ONCE = 4
"""Turns of one session that start at the same time."""
_LOOK_EVERY = 0.05
_SKEW = 5.0
"""Seconds by which two clocks may differ; the Date header has whole seconds."""


def checks(remote: RemoteClient, message: str) -> Iterator[Check]:
    """Yields the checks in order; stops after a failure that makes the rest useless.

    :param message: the test message; the sessions it starts are deleted.
    """
    sessions: list[str] = []
    try:
        yield attempt("service", lambda: _health(remote))
        yield attempt("clock", lambda: _clock(remote))
        ready = attempt("database", lambda: _ready(remote))
        yield ready
        if not ready.ok:
            return
        answered = attempt("turn", lambda: _turn(remote, message, sessions))
        yield answered
        if not answered.ok:
            return
        yield attempt("stream", lambda: _stream(remote, message, sessions))
        yield attempt("one turn at a time", lambda: _order(remote, message, sessions))
    finally:
        _delete(remote, sessions)
    yield attempt("cleaned up", lambda: _gone(remote, sessions))


def ask(remote: RemoteClient, session_id: str, message: str) -> TurnTimes:
    """Streams one answer and records the times of its chunks.

    :raises AppBuilderError: the turn failed.
    """
    import httpx2

    turn = TurnTimes(session_id, clock.monotonic())
    body = {"message": message, "stream": True, "session_id": session_id}
    arrived = 0.0

    def chunks(response: httpx2.Response) -> Iterator[bytes]:
        nonlocal arrived
        for chunk in response.iter_raw():
            arrived = clock.monotonic() - turn.began
            yield chunk

    try:
        with remote.client.stream("POST", f"{remote.base}/chat", json=body) as response:
            if response.status_code != 200:
                raise refusal(response.status_code, response.read())
            for event in events(chunks(response)):
                if not event.get("is_completion"):
                    turn.note(arrived)
    except httpx2.HTTPError as error:
        raise unreachable(remote.base, error) from None
    turn.ended = clock.monotonic() - turn.began
    return turn


# The checks


def _health(remote: RemoteClient) -> Check:
    began = clock.monotonic()
    remote.fetch("/health")
    return Check("service", True, f"{remote.base} answers in {ms(clock.monotonic() - began)}.")


def _ready(remote: RemoteClient) -> Check:
    remote.fetch("/ready")
    return Check("database", True, "The service can store a turn.")


def _clock(remote: RemoteClient) -> Check:
    date = remote.client.get(f"{remote.base}/health").headers.get("date")
    if date is None:
        return Check("clock", None, "The service sends no Date header.")
    sent = parsedate_to_datetime(date).astimezone(UTC).replace(tzinfo=None)
    skew = abs((clock.now() - sent).total_seconds())
    if skew > _SKEW:
        return Check("clock", False, f"The clocks here and there differ by {skew:.0f} seconds.")
    return Check("clock", True, "The clocks here and there agree.")


def _turn(remote: RemoteClient, message: str, sessions: list[str]) -> Check:
    sessions.append(new_id())
    turn = ask(remote, sessions[-1], message)
    return Check("turn", True, f"{message!r} was answered in {ms(turn.ended)}: component and model work.")


def _stream(remote: RemoteClient, message: str, sessions: list[str]) -> Check:
    sessions.append(new_id())
    before = _first_pieces(remote)
    turn = ask(remote, sessions[-1], message)
    after = _first_pieces(remote)
    said = None
    # If another turn ran in between, the difference would include it.
    if before is not None and after is not None and after[1] == before[1] + 1:
        said = after[0] - before[0]
    return judge_stream(turn, said)


def _first_pieces(remote: RemoteClient) -> tuple[float, int] | None:
    import httpx2

    try:
        response = remote.client.get(f"{remote.base}/metrics")
    except httpx2.HTTPError:
        return None
    return first_pieces(response.text) if response.status_code == 200 else None


def _order(remote: RemoteClient, message: str, sessions: list[str]) -> Check:
    session_id = new_id()
    sessions.append(session_id)
    start = threading.Barrier(AT_ONCE)
    workers: set[str] = set()
    most_running = 0

    def one() -> TurnTimes:
        other = RemoteClient(remote.base, "")  # a separate connection, which may reach another worker
        other.client.headers = remote.client.headers
        with other.client:
            start.wait(timeout=10)
            return ask(other, session_id, message)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(one) for _ in range(AT_ONCE)]
        pause = threading.Event()
        while not all(each.done() for each in futures) and (live := _runs(remote)) is not None:
            runs = [run for run in live if run["session_id"] == session_id]
            workers |= {run["worker"] for run in runs}
            here = [run for run in runs if run["pieces"] is not None and run["state"] == "running"]
            most_running = max(most_running, len(here))
            pause.wait(_LOOK_EVERY)
        turns = [each.result() for each in futures]
    return judge_order(turns, len(workers), most_running)


def _runs(remote: RemoteClient) -> Sequence[dict[str, Any]] | None:
    """The running turns; None if the service does not list them."""
    try:
        found: Sequence[dict[str, Any]] = remote.fetch("/runs")["runs"]
    except (AppBuilderError, KeyError, TypeError):
        return None
    return found


# Clean-up


def _delete(remote: RemoteClient, sessions: Sequence[str]) -> None:
    for each in sessions:
        with contextlib.suppress(AppBuilderError):  # reported by `_gone`
            remote.fetch(f"/sessions/{each}", "DELETE")


def _gone(remote: RemoteClient, sessions: Sequence[str]) -> Check:
    answers = {each: remote.client.get(f"{remote.base}/sessions/{each}") for each in sessions}
    left = [each for each, answer in answers.items() if answer.status_code != 404]
    if left:
        return Check("cleaned up", False, f"These sessions could not be deleted: {', '.join(left)}.")
    return Check("cleaned up", True, f"The {len(sessions)} sessions of this test were deleted.")
