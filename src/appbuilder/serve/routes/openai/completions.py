"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appbuilder.engine.engine import Run
from appbuilder.engine.log import Outcome
from appbuilder.engine.reader import Batch
from appbuilder.engine.turn_request import TurnRequest
from appbuilder.protocols.errors import to_problem
from appbuilder.protocols.openai.chat_completions import ChunkEncoder, CompletionHead, completion, read
from appbuilder.protocols.openai.finish_reasons import finish_reason
from appbuilder.protocols.openai.shown import reasoning, whole_text
from appbuilder.protocols.openai.usage import usage_of
from appbuilder.serve.auth.request_info import Receive, Scope, Send
from appbuilder.serve.http.state import Service
from appbuilder.serve.routes.openai.handler import (
    OpenAICall,
    handle_call,
    now_in_seconds,
    read_request,
    turn_id_of,
)


class ChatCompletions:
    """The endpoint, an ASGI application; errors are raised."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        identity, call = await read_request(service, scope, receive, read)
        asked = OpenAICall(call.talk, call.args, call.stream, call.session_id, "openai")

        created = now_in_seconds()

        def answering(run: Run) -> _CompletionWriter:
            head = CompletionHead(f"chatcmpl-{turn_id_of(run)}", created, service.name)
            return _CompletionWriter(head, run, include_usage=call.include_usage)

        await handle_call(service, identity, asked, answering, scope, receive, send)


class _CompletionWriter:
    def __init__(self, head: CompletionHead, run: Run, *, include_usage: bool) -> None:
        self._head = head
        self._log = run.log
        self._request = run.request
        self._include_usage = include_usage

    def stream(self) -> _Chunks:
        return _Chunks(ChunkEncoder(self._head, include_usage=self._include_usage), self._request)

    def whole(self, answer: Mapping[str, Any]) -> bytes:
        usage = usage_of(answer.get("token_usage"))
        content = whole_text(self._log, answer.get("content"))
        return completion(
            self._head, content, usage, finish_reason(answer), reasoning=reasoning(self._log)
        )


class _Chunks:
    """The events of one stream."""

    def __init__(self, encoder: ChunkEncoder, request: TurnRequest) -> None:
        self._encoder = encoder
        self._request = request

    def events(self, batch: Batch) -> bytes:
        return self._encoder.events(batch)

    def last(self, outcome: Outcome) -> bytes:
        if outcome.answer is not None:
            usage = usage_of(outcome.answer.get("token_usage"))
            return self._encoder.end(usage, finish_reason(outcome.answer))
        assert outcome.error is not None
        what = to_problem(outcome.error, audience=self._request.audience)
        return self._encoder.error(what, outcome.error, self._request.request_id)
