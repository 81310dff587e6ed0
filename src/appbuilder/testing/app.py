"""A double of AppBuilder's service for published applications, on the recorded wire."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from appbuilder import clock
from appbuilder.ids import new_id
from appbuilder.testing.app_events import AppReply, Members, Run
from appbuilder.testing.server import Exchange, HttpDouble, Recorded, Reply, to_json

__all__ = ["AppDouble", "AppReply", "Conversation", "SentFile"]

_REQUEST_ID = "X-Appbuilder-Request-Id"
_PLACES = {
    "/v2/app/conversation": "conversation",
    "/v2/app/conversation/file/upload": "upload",
    "/v2/app/conversation/runs": "run",
    "/v2/app/conversation/feedback": "feedback",
    "/v2/app?Action=DescribeApps": "apps",
    "/v2/app?Action=DescribeApp": "app",
    "/v2/apps": "list",
}


@dataclass(frozen=True)
class SentFile:
    """A file as it came in a form."""

    name: str
    kind: str
    data: bytes


@dataclass
class Conversation:
    """What the double knows of a conversation.

    ``waits_for`` are the ids of tool calls whose outputs must come next, ``question_id`` is what the workflow
    asked last, ``feedback`` the kind of feedback by the id of its message.
    """

    app_id: str
    queries: list[str] = field(default_factory=list)
    files: dict[str, SentFile | str] = field(default_factory=dict)
    waits_for: set[str] = field(default_factory=set)
    question_id: str | None = None
    feedback: dict[str, str] = field(default_factory=dict)


class _Wrong(Exception):
    """The request cannot be served; the double says so with status 400."""


class AppDouble(HttpDouble):
    """AppBuilder's service, as far as ``AppBuilderClient`` uses it. Programs reach it with ``GATEWAY_URL_V2``
    set to ``address``.

    It keeps conversations (``conversations``, by id: ``conv-1``...), and refuses what the service would: a
    conversation or file it did not make, outputs that are not awaited, an answer to a question that was
    not asked.

    :param answer: makes an answer's text of a request; by default the question itself.
    :param tokens: the credentials it takes; None: any.
    :param apps: the published applications: members as ``describe_app`` returns them, ``id`` at least.
    """

    def __init__(
        self,
        answer: Callable[[Recorded], str] | None = None,
        tokens: Collection[str] | None = None,
        apps: Sequence[Mapping[str, Any]] = ({"id": "app-1", "name": "An application"},),
    ) -> None:
        super().__init__(answer)
        self.apps = {str(app["id"]): dict(app) for app in apps}
        self.conversations: dict[str, Conversation] = {}
        self._tokens = tokens
        self._made: Counter[str] = Counter()
        self._scripts: dict[str, deque[Reply]] = {place: deque() for place in _PLACES.values()}

    def reply(self, *replies: Reply, to: str = "run") -> None:
        """Adds *replies* to a script: each is for one call.

        :param to: ``run``, ``conversation``, ``upload``, ``feedback``, ``apps``, ``app`` or ``list``.
        """
        self._scripts[to].extend(replies)

    @property
    def runs(self) -> list[Recorded]:
        """The runs that were asked for."""
        return [request for request in self.requests if request.path == "/v2/app/conversation/runs"]

    def question(self, request: Recorded) -> str:
        """The query; without one, the last output of a tool."""
        outputs = request.body.get("tool_outputs") or [{"output": ""}]
        return str(request.body.get("query") or outputs[-1]["output"])

    def content_of(self, headers: Mapping[str, str], body: bytes) -> Any:
        """As the base; a form's parts by name, in their order, files as :class:`SentFile`."""
        kind, options = parse_options_header(headers.get("content-type"))
        if kind == "multipart/form-data":
            return _form(options.get("boundary", ""), body)
        return super().content_of(headers, body)

    def respond(self, exchange: Exchange) -> None:
        """Answers one request."""
        request = exchange.request_seen
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        place = _PLACES.get(request.path) or _PLACES.get(urlsplit(request.path).path)
        if not token or (self._tokens is not None and token not in self._tokens):
            _refuse(exchange, Reply(status=401, error=("InvalidToken", "the token is not valid")))
        elif place is None:
            _refuse(exchange, Reply(status=404, error=("NotFound", "there is no such service")))
        else:
            self._answer_call(exchange, place, _as_app_reply(self._scripted(place)))

    def _scripted(self, place: str) -> Reply:
        try:
            return self._scripts[place].popleft()
        except IndexError:
            return self.default if place == "run" else AppReply()

    def _answer_call(self, exchange: Exchange, place: str, reply: AppReply) -> None:
        exchange.hang(reply)
        if reply.raw is not None:
            streamed = place == "run" and exchange.request_seen.body["stream"]
            kind = "text/event-stream" if streamed and reply.raw[:1] != b"{" else "application/json"
            exchange.begin(_with_id(exchange, reply), reply.kind or kind, len(reply.raw))
            exchange.wfile.write(reply.raw)
        elif reply.status != 200:
            _refuse(exchange, reply)
        else:
            try:
                getattr(self, f"_{place}")(exchange, reply)
            except _Wrong as wrong:
                _refuse(exchange, Reply(status=400, error=("InvalidArgument", str(wrong))))

    def _new(self, kind: str) -> str:
        with self._changed:
            self._made[kind] += 1
            return f"{kind}-{self._made[kind]}"

    def _found(self, body: Mapping[str, Any]) -> Conversation:
        conversation = self.conversations.get(str(body.get("conversation_id")))
        if conversation is None or conversation.app_id != body.get("app_id"):
            raise _Wrong("the application has no such conversation")
        return conversation

    def _conversation(self, exchange: Exchange, reply: AppReply) -> None:
        app_id = exchange.request_seen.body.get("app_id")
        if app_id not in self.apps:
            raise _Wrong("there is no such application")
        made = self._new("conv")
        self.conversations[made] = Conversation(app_id)
        _say(exchange, reply, {"request_id": new_id(), "conversation_id": made})

    def _upload(self, exchange: Exchange, reply: AppReply) -> None:
        body = exchange.request_seen.body
        conversation = self._found(body)
        sent = body.get("file") or body.get("file_url")
        if not sent:
            raise _Wrong("there is neither a file nor a file_url")
        made = self._new("file")
        conversation.files[made] = sent
        told = {"request_id": new_id(), "id": made, "conversation_id": body["conversation_id"]}
        _say(exchange, reply, told)

    def _feedback(self, exchange: Exchange, reply: AppReply) -> None:
        body = exchange.request_seen.body
        if body.get("type") not in ("upvote", "downvote", "cancel"):
            raise _Wrong("type must be upvote, downvote or cancel")
        self._found(body).feedback[body.get("message_id")] = body["type"]
        _say(exchange, reply, {"request_id": new_id()})

    def _apps(self, exchange: Exchange, reply: AppReply) -> None:
        body = exchange.request_seen.body
        found, cut = self._page(body.get("marker"), body["maxKeys"])
        told: Members = {"requestId": new_id(), "marker": body.get("marker") or "", "isTruncated": cut}
        told |= {"nextMarker": found[-1]["id"] if cut else "", "maxKeys": body["maxKeys"], "data": found}
        _say(exchange, reply, told)

    def _app(self, exchange: Exchange, reply: AppReply) -> None:
        app = self.apps.get(exchange.request_seen.body.get("id"))
        if app is None:
            raise _Wrong("there is no such application")
        _say(exchange, reply, {"requestId": new_id(), **app})

    def _list(self, exchange: Exchange, reply: AppReply) -> None:
        query = parse_qs(urlsplit(exchange.request_seen.path).query)
        found, _ = self._page(query.get("after", [None])[0], int(query["limit"][0]))
        _say(exchange, reply, {"request_id": new_id(), "data": found})

    def _page(self, after: str | None, size: int) -> tuple[list[Members], bool]:
        ids = list(self.apps)
        rest = ids[ids.index(after) + 1 :] if after in ids else ids
        names = ("id", "name", "description", "appType", "isPublished", "updateTime")
        page = [self.apps[one] for one in rest[:size]]
        return [{name: app[name] for name in names if name in app} for app in page], len(rest) > size

    def _run(self, exchange: Exchange, reply: AppReply) -> None:
        body = exchange.request_seen.body
        run = self._begun(exchange, reply)
        if not body["stream"]:
            self._whole(exchange, run)
            return
        messages = [to_json(message).decode() for message in run.messages()]
        exchange.begin(_with_id(exchange, reply), "text/event-stream")
        if not exchange.stream(reply, messages, exchange.event) and reply.error_after is not None:
            exchange.event(_error(reply))
        if not exchange.close_connection:
            exchange.chunk(b"")

    def _whole(self, exchange: Exchange, run: Run) -> None:
        if run.reply.error_after is not None:
            _refuse(exchange, run.reply)
        elif exchange.stream(run.reply, run.pieces, lambda _: None):
            exchange.whole(_with_id(exchange, run.reply), run.whole())

    def _begun(self, exchange: Exchange, reply: AppReply) -> Run:
        """Checks a run and notes what it leaves behind in its conversation."""
        body = exchange.request_seen.body
        conversation = self._found(body)
        self._check(conversation, body)
        silent = reply.tool_calls or reply.asks is not None or reply.published
        pieces = () if reply.pieces is None and silent else exchange.pieces_of(reply)
        conversation.queries.append(str(body.get("query") or ""))
        call_ids = [self._new("call") for _ in reply.tool_calls]
        conversation.waits_for = set(call_ids)
        conversation.question_id = None if reply.asks is None else self._new("question")
        asked, said = len(self.question(exchange.request_seen)), len("".join(pieces))
        counted = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
        members = {
            "request_id": new_id(),
            "date": clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "conversation_id": body["conversation_id"],
            "message_id": self._new("m"),
        }
        usage = counted if reply.usage is None else reply.usage
        return Run(
            reply, pieces, {**usage, "name": "double"}, members, call_ids, conversation.question_id or ""
        )

    def _check(self, conversation: Conversation, body: Mapping[str, Any]) -> None:
        outputs = {output["tool_call_id"] for output in body.get("tool_outputs") or ()}
        if outputs and outputs != conversation.waits_for:
            raise _Wrong("these outputs are not awaited")
        if not set(body.get("file_ids") or ()) <= set(conversation.files):
            raise _Wrong("the conversation has no such file")
        action = body.get("action")
        if action and action["parameters"]["interrupt_event"]["id"] != conversation.question_id:
            raise _Wrong("this question was not asked")


def _as_app_reply(reply: Reply) -> AppReply:
    if isinstance(reply, AppReply):
        return reply
    return AppReply(**{one.name: getattr(reply, one.name) for one in fields(reply)})


def _with_id(exchange: Exchange, reply: Reply) -> Reply:
    sent = exchange.request_seen.headers.get(_REQUEST_ID.lower(), new_id())
    return replace(reply, headers={_REQUEST_ID: sent, **reply.headers})


def _say(exchange: Exchange, reply: Reply, members: Members) -> None:
    exchange.whole(_with_id(exchange, reply), {**members, **reply.extra})


def _refuse(exchange: Exchange, reply: Reply) -> None:
    exchange.whole(_with_id(exchange, reply), _error(reply))


def _error(reply: Reply) -> Members:
    code, text = reply.error
    return {"code": code, "message": text, "requestId": new_id()}


def _form(boundary: str, body: bytes) -> dict[str, str | SentFile]:
    decoder = MultipartDecoder(boundary.encode())
    decoder.receive_data(body)
    decoder.receive_data(None)
    parts: dict[str, str | SentFile] = {}
    part: Field | File | None = None
    data = b""
    while not isinstance(event := decoder.next_event(), (Epilogue, NeedData)):
        if isinstance(event, (Field, File)):
            part, data = event, b""
        elif isinstance(event, Data) and part is not None:
            data += event.data
            if not event.more_data:
                parts[part.name] = _part(part, data)
    return parts


def _part(part: Field | File, data: bytes) -> str | SentFile:
    if isinstance(part, Field):
        return data.decode()
    return SentFile(part.filename, part.headers.get("content-type", ""), data)
