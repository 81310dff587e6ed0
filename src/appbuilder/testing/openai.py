"""A double of an OpenAI-compatible server: chat completions, whole and streamed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from appbuilder.ids import new_id
from appbuilder.testing.server import Exchange, HttpDouble, Recorded, Reply


class OpenAIDouble(HttpDouble):
    """An OpenAI-compatible server. Programs reach it with ``OPENAI_BASE_URL`` set to ``base_url``.

    :param keys: the API keys it takes; None: any.
    :param refuses: names of parameters it answers with 400, as stricter servers do.
    :param refusal: the status of that.
    """

    def __init__(
        self,
        answer: Callable[[Recorded], str] | None = None,
        keys: Collection[str] | None = None,
        refuses: Collection[str] = (),
        refusal: int = 400,
    ) -> None:
        super().__init__(answer)
        self._keys = keys
        self._refuses = refuses
        self._refusal = refusal

    @property
    def base_url(self) -> str:
        """The address with the API's version."""
        return f"{self.address}/v1"

    def question(self, request: Recorded) -> str:
        """What the last message says."""
        return str(request.body["messages"][-1]["content"])

    def respond(self, exchange: Exchange) -> None:
        """Answers one request."""
        request = exchange.request_seen
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._keys is not None and key not in self._keys:
            self._refuse(exchange, Reply(status=401, error=("invalid_api_key", "incorrect API key")))
        elif request.path == "/v1/models":
            exchange.whole(Reply(), {"object": "list", "data": [{"id": "double", "object": "model"}]})
        elif request.path != "/v1/chat/completions":
            self._refuse(exchange, Reply(status=404, error=("not_found", "there is no such address")))
        else:
            self._answer_call(exchange, request.body)

    def _answer_call(self, exchange: Exchange, body: Mapping[str, Any]) -> None:
        refused = next((name for name in self._refuses if name in body), None)
        if refused is not None:
            text = f"Unknown parameter: '{refused}'."
            self._refuse(exchange, Reply(status=self._refusal, error=("unknown_parameter", text)))
            return
        reply = self.next_reply()
        exchange.hang(reply)
        if reply.raw is not None:
            exchange.begin(reply, reply.kind or "text/event-stream", len(reply.raw))
            exchange.wfile.write(reply.raw)
        elif reply.status != 200:
            self._refuse(exchange, reply)
        elif body.get("stream"):
            self._stream(exchange, reply, body)
        else:
            self._whole(exchange, reply, body)

    def _refuse(self, exchange: Exchange, reply: Reply) -> None:
        exchange.whole(reply, _error(reply))

    def _stream(self, exchange: Exchange, reply: Reply, body: Mapping[str, Any]) -> None:
        pieces = exchange.pieces_of(reply)
        head = _head(body, "chat.completion.chunk")
        exchange.begin(reply, "text/event-stream")

        def say(piece: str) -> None:
            exchange.event({**head, "choices": [_choice({"content": piece})]})

        exchange.event({**head, "choices": [_choice({"role": "assistant", "content": ""})]})
        if exchange.stream(reply, pieces, say):
            if not reply.unfinished:
                self._finish(exchange, reply, pieces, head)
        elif reply.error_after is not None:
            exchange.event(_error(reply))
        if not exchange.close_connection:
            exchange.chunk(b"")

    def _finish(
        self, exchange: Exchange, reply: Reply, pieces: Sequence[str], head: Mapping[str, Any]
    ) -> None:
        if reply.tool_calls:
            exchange.event({**head, "choices": [_choice({"tool_calls": _calls(reply)})]})
        exchange.event({**head, "choices": [_choice({}, reply.finish or None)]})
        if (exchange.request_seen.body.get("stream_options") or {}).get("include_usage"):
            exchange.event({**head, "choices": [], "usage": _usage(exchange, reply, pieces)})
        if reply.done:
            exchange.event("[DONE]")

    def _whole(self, exchange: Exchange, reply: Reply, body: Mapping[str, Any]) -> None:
        pieces = exchange.pieces_of(reply)
        if exchange.stream(reply, pieces, lambda _: None):
            message: dict[str, Any] = {"role": "assistant", "content": "".join(pieces)}
            if reply.tool_calls:
                message["tool_calls"] = _calls(reply)
            choices = [{"index": 0, "message": message, "finish_reason": reply.finish or None}]
            usage = _usage(exchange, reply, pieces)
            exchange.whole(reply, {**_head(body, "chat.completion"), "choices": choices, "usage": usage})
        elif not exchange.close_connection:
            self._refuse(exchange, Reply(status=500, error=reply.error))


def _head(body: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{new_id()}", "object": kind, "created": int(time.time()), "model": body["model"]}


def _calls(reply: Reply) -> list[dict[str, Any]]:
    functions = [{"name": name, "arguments": json.dumps(given)} for name, given in reply.tool_calls]
    return [{"index": number, "id": f"call-{number}", "type": "function", "function": function}
            for number, function in enumerate(functions)]


def _choice(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": dict(delta), "finish_reason": finish_reason}


def _error(reply: Reply) -> dict[str, Any]:
    code, text = reply.error
    return {"error": {"message": text, "type": "scripted_error", "param": None, "code": code}}


def _usage(exchange: Exchange, reply: Reply, pieces: Sequence[str]) -> dict[str, int]:
    if reply.usage is not None:
        return dict(reply.usage)
    asked = sum(len(str(message["content"])) for message in exchange.request_seen.body["messages"])
    said = len("".join(pieces))
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
