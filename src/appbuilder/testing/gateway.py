"""A double of AppBuilder's gateway: model list, Playground and QueryRewrite, on the recorded wire."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from appbuilder.ids import new_id
from appbuilder.testing.server import Exchange, HttpDouble, Recorded, Reply

_LIST = "/rpc/2.0/cloud_hub/v1/bce/wenxinworkshop/service/list"
_SERVICES = "/rpc/2.0/cloud_hub/v1/ai_engine/copilot_engine/v1/api/llm/"
_REQUEST_ID = "X-Appbuilder-Request-Id"

MODELS = ("ERNIE-Bot 4.0", "ERNIE-Bot", "ERNIE-Bot-turbo", "Qianfan-Agent-Speed-8K")


class GatewayDouble(HttpDouble):
    """AppBuilder's gateway, as far as AppBuilder SDK 1.1.5 uses it for models.

    Programs reach it with ``GATEWAY_URL`` set to ``address``.

    :param tokens: the credentials it takes; None: any.
    :param models: the names in its model list.
    """

    def __init__(
        self,
        answer: Callable[[Recorded], str] | None = None,
        tokens: Collection[str] | None = None,
        models: Sequence[str] = MODELS,
    ) -> None:
        super().__init__(answer)
        self.models = models
        self._tokens = tokens

    @property
    def calls(self) -> list[Recorded]:
        """The requests to models, without those for the model list."""
        return [request for request in self.requests if request.path != _LIST]

    def question(self, request: Recorded) -> str:
        """A prompt as it is; of a conversation the last question."""
        query = str(request.body["query"])
        if request.path.endswith("query_rewrite"):
            return query.rstrip("\n").rsplit("\n", 1)[-1].partition(":")[2].strip()
        return query

    def respond(self, exchange: Exchange) -> None:
        """Answers one request."""
        request = exchange.request_seen
        token = request.headers.get("x-appbuilder-authorization", "").removeprefix("Bearer ")
        if not token or (self._tokens is not None and token not in self._tokens):
            self._refuse(exchange, Reply(status=401, error=("InvalidToken", "the token is not valid")))
        elif request.path == _LIST:
            exchange.whole(Reply(), self._list())
        elif request.path in (f"{_SERVICES}playground", f"{_SERVICES}query_rewrite"):
            self._answer_call(exchange, self.next_reply())
        else:
            self._refuse(exchange, Reply(status=404, error=("NotFound", "there is no such service")))

    def _list(self) -> dict[str, Any]:
        url = f"{self.address}/rpc/2.0/cloud_hub/v1/bce/wenxinworkshop/ai_custom/v1/chat"
        entries = [
            {"name": name, "url": f"{url}/{name}", "apiType": "chat", "chargeStatus": "OPENED"}
            for name in self.models
        ]
        return {
            "log_id": new_id(),
            "success": True,
            "error_code": 0,
            "error_msg": "",
            "result": {"common": entries, "custom": []},
        }

    def _refuse(self, exchange: Exchange, reply: Reply) -> None:
        exchange.whole(_with_id(exchange, reply), _error(reply))

    def _answer_call(self, exchange: Exchange, reply: Reply) -> None:
        streamed = exchange.request_seen.body["response_mode"] == "streaming"
        exchange.hang(reply)
        if reply.raw is not None:
            exchange.begin(_with_id(exchange, reply), reply.kind or "text/event-stream", len(reply.raw))
            exchange.wfile.write(reply.raw)
        elif reply.status != 200:
            self._refuse(exchange, reply)
        elif streamed:
            self._stream(exchange, reply)
        else:
            self._whole(exchange, reply)

    def _stream(self, exchange: Exchange, reply: Reply) -> None:
        pieces = exchange.pieces_of(reply)
        exchange.begin(_with_id(exchange, reply), "text/event-stream")
        if exchange.stream(reply, pieces, lambda piece: exchange.event({"answer": piece})):
            if not reply.unfinished:
                exchange.event({"answer": "", "usage": _usage(exchange, reply, pieces), **reply.extra})
        elif reply.error_after is not None:
            exchange.event(_error(reply))
        if not exchange.close_connection:
            exchange.chunk(b"")

    def _whole(self, exchange: Exchange, reply: Reply) -> None:
        pieces = exchange.pieces_of(reply)
        if reply.error_after is not None:
            self._refuse(exchange, reply)
        elif exchange.stream(reply, pieces, lambda _: None):
            usage = {} if reply.unfinished else {"usage": _usage(exchange, reply, pieces)}
            exchange.whole(_with_id(exchange, reply), {"answer": "".join(pieces), **usage, **reply.extra})


def _with_id(exchange: Exchange, reply: Reply) -> Reply:
    sent = exchange.request_seen.headers.get(_REQUEST_ID.lower(), new_id())
    return Reply(status=reply.status, headers={_REQUEST_ID: sent, **reply.headers})


def _error(reply: Reply) -> dict[str, Any]:
    code, text = reply.error
    return {"code": code, "message": text, "requestId": new_id()}


def _usage(exchange: Exchange, reply: Reply, pieces: Sequence[str]) -> dict[str, int]:
    if reply.usage is not None:
        return dict(reply.usage)
    asked, said = len(str(exchange.request_seen.body["query"])), len("".join(pieces))
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
