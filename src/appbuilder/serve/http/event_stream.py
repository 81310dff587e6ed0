"""A reader of a run's log on the event loop, as the body of a response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from appbuilder import clock
from appbuilder.engine.engine import Run
from appbuilder.engine.log import Outcome
from appbuilder.engine.reader import Batch, LogReader
from appbuilder.engine.wakeups import LoopEvent, new_loop_event
from appbuilder.protocols import sse
from appbuilder.serve.auth.request_info import Receive, Scope, Send
from appbuilder.serve.http.messages import send_parts
from appbuilder.settings import Settings

WATCH_AFTER = 1.0
"""Seconds after which the reader of a whole answer is watched for leaving; most are answered by then."""


Encode = Callable[[Batch], "tuple[bytes, bool]"]
"""From a batch to what is to be sent, and whether nothing follows it."""


class EventStream:
    """An ASGI response: pieces that wait together leave as one write.

    :param headers: of the response, besides those of every stream.
    """

    def __init__(
        self,
        run: Run,
        encoder: sse.Encoder,
        settings: Settings,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self._run = run
        self._encoder = encoder
        self._settings = settings
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the stream; returns early when its reader has left.

        :raises AppBuilderError: the run failed before there was a piece, and before anything was sent.
        """
        run = self._run
        run.attach()
        reader = _Reader(LogReader(run.log), receive, send, self._settings)
        try:
            await reader.first(self._settings.first_piece_wait)
            outcome = run.log.outcome
            if not run.log.has_spoken and outcome is not None and outcome.error is not None:
                raise outcome.error
            await send({"type": "http.response.start", "status": 200, "headers": [*_STREAM, *self._headers]})
            await reader.all(lambda batch: sse.encoded(self._encoder, batch, run.request.request_id))
        except _Left:
            return
        finally:
            reader.close()
            run.detach()


_STREAM = (
    (b"content-type", sse.CONTENT_TYPE.encode()),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the pieces back
)


class _Left(Exception):
    """The reader has left, or takes nothing any more."""


class _Reader:
    """Waits for a log, for the reader's leaving and for the next sign of life, all at one gate.

    One timer a stream, which looks whether something is due; setting one a piece would cost more than the
    piece.
    """

    def __init__(self, reader: LogReader, receive: Receive, send: Send, settings: Settings) -> None:
        self._reader = reader
        self._send = send
        self._heartbeat = max(0.05, settings.heartbeat)
        self._gate = reader.opened()
        self._loop = asyncio.get_running_loop()
        self._watcher = self._loop.create_task(self._watch(receive))
        self._timer: asyncio.TimerHandle | None = None
        self._last_write = clock.monotonic()
        self._left = False

    def close(self) -> None:
        """Waits for nothing any more."""
        self._watcher.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._reader.close()

    async def first(self, seconds: float) -> None:
        """Waits until the run has said something or has ended, *seconds* at most.

        :raises _Left: there is no one to send it to any more.
        """
        log = self._reader.log
        if log.has_spoken or log.outcome is not None:
            return
        is_over = False

        def end() -> None:  # by the clock this may be a millisecond early: loops count whole ones
            nonlocal is_over
            is_over = True
            self._gate.open()

        timer = self._loop.call_later(seconds, end)
        try:
            while not (log.has_spoken or log.outcome is not None or is_over):
                await self._reader.woken(len(log.entries))
                if self._left:
                    raise _Left
        finally:
            timer.cancel()

    async def all(self, encoded: Encode) -> None:
        """Sends everything of the log.

        :raises _Left: there is no one to send it to any more.
        """
        self._beat()
        reader, ended = self._reader, False
        try:
            while not ended:
                batch, body = reader.take(), b""
                if batch is not None:
                    body, ended = encoded(batch)
                else:
                    await reader.woken()
                    if not reader.log.has_more(reader.cursor) and self._silent() >= self._heartbeat:
                        body = sse.COMMENT
                if self._left:
                    raise _Left
                if body or ended:
                    await send_parts(self._send, body, more=not ended)
                    self._last_write = clock.monotonic()
        except OSError as error:  # of servers that tell so that the reader has left
            raise _Left from error

    def _silent(self) -> float:
        return clock.monotonic() - self._last_write

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._left = True
        self._gate.open()

    def _beat(self) -> None:
        """Looks, once a heartbeat, whether a sign of life is due."""
        if self._silent() >= self._heartbeat:
            self._gate.open()
        self._timer = self._loop.call_later(self._heartbeat, self._beat)


async def outcome_of(run: Run, receive: Receive) -> Outcome | None:
    """How a run ended; None: who asked has left before it did."""
    log = run.log
    gate = new_loop_event()
    log.subscribe_end(gate.open_from_thread)
    run.attach()
    leaving = _Leaving(receive, gate)
    # Most are answered before anybody has to be watched; a timer costs a tenth of a task.
    timer = gate.loop.call_later(WATCH_AFTER, leaving.watch)
    try:
        if log.outcome is None:
            await gate.wait()
        return log.outcome
    finally:
        timer.cancel()
        leaving.forget()
        run.detach()


class _Leaving:
    """Opens a gate when a client leaves."""

    def __init__(self, receive: Receive, gate: LoopEvent) -> None:
        self._receive = receive
        self._gate = gate
        self._task: asyncio.Task[None] | None = None

    def watch(self) -> None:
        self._task = self._gate.loop.create_task(self._wait())

    def forget(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gate.open()
