"""Chat completions: requests, whole answers, and streams of chunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appbuilder import jsontext
from appbuilder.core.events import Entry, text_in
from appbuilder.core.message import text_of
from appbuilder.engine.reader import Batch
from appbuilder.protocols import sse
from appbuilder.protocols.errors import Problem
from appbuilder.protocols.openai import error_body, fields, parameters
from appbuilder.protocols.openai.finish_reasons import STOP
from appbuilder.protocols.openai.messages import Conversation, read_messages
from appbuilder.protocols.openai.shown import is_reasoning, is_shown, shown_text
from appbuilder.protocols.openai.usage import Usage

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A request.

    :param args: keyword arguments for the component's ``run``.
    :param session_id: the session the body names.
    :param include_usage: whether a stream is to tell its tokens.
    """

    talk: Conversation
    args: Mapping[str, Any]
    stream: bool
    include_usage: bool
    session_id: str | None


def read(body: Mapping[str, Any], *, model: str, takes: frozenset[str]) -> ChatCall:
    """Reads a request.

    :param model: the service's only one.
    :param takes: names of the arguments the component's ``run`` takes.
    :raises InvalidRequest: a member is missing, or has a wrong type or value; ``param`` says which.
    :raises NotFound: the request is for another model.
    """
    fields.check_model(body, model)
    parameters.check(parameters.CHAT, body)
    talk = read_messages(body.get("messages"))
    n = body.get("n")
    if n is not None and (n != 1 or isinstance(n, bool)):
        raise fields.invalid_field("n", "1: a service of one component has one answer")
    return ChatCall(
        talk=talk,
        args=fields.extra_arguments(
            _component_members(body), takes, messages=talk.messages, system=talk.system
        ),
        stream=bool(body.get("stream")),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        session_id=fields.session_of(body),
    )


_OURS = ("model", "messages", "stream", "stream_options", "n", "session_id", "metadata", "message")


def _component_members(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in body.items() if name not in _OURS}


@dataclass(frozen=True, slots=True)
class CompletionHead:
    """What the parts of one answer share. ``created`` is in seconds since 1970."""

    id: str
    created: int
    model: str

    def members(self, kind: str) -> dict[str, Any]:
        """The members of an object of the API."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def completion(
    head: CompletionHead, content: Any, usage: Usage | None, finish: str = STOP, *, reasoning: str = ""
) -> bytes:
    """A whole answer; zeros where the tokens were not counted, because clients need the member."""
    message = {"role": "assistant", "content": text_of(content), "refusal": None}
    if reasoning:
        message["reasoning_content"] = reasoning
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    told = (usage or Usage()).for_chat()
    return jsontext.dumps({**head.members("chat.completion"), "choices": [choice], "usage": told})


class ChunkEncoder:
    """Writes the events of one stream; the part that is the same in each is encoded once.

    No event has an ``id:``. The openai package takes a comment after one for an event without data.
    """

    def __init__(self, head: CompletionHead, *, include_usage: bool = False) -> None:
        self._head = head
        self._include_usage = include_usage
        start = jsontext.dumps(head.members("chat.completion.chunk"))[:-1]
        self._open = b"data: " + start + b',"choices":[{"index":0,"delta":'
        self._before = self._open + b'{"content":'
        self._end = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._after = b'},"logprobs":null,"finish_reason":null}]' + self._end
        self._begun = False

    def events(self, batch: Batch) -> bytes:
        """The events of what leaves together; empty where none of it is shown."""
        before, after, dumps = self._before, self._after, jsontext.dumps
        if not batch.log.others:
            texts = [before + dumps(e if type(e) is str else text_in(e)) + after for e in batch.entries]
        else:
            texts = [self._delta(entry) for entry in batch.entries if is_shown(entry) or is_reasoning(entry)]
        return self._begin() + b"".join(texts) if texts else b""

    def _delta(self, entry: Entry) -> bytes:
        if not isinstance(entry, str) and is_reasoning(entry):
            return self._open + b'{"reasoning_content":' + jsontext.dumps(entry.data["delta"]) + self._after
        return self._before + jsontext.dumps(shown_text(entry)) + self._after

    def end(self, usage: Usage | None, finish: str = STOP) -> bytes:
        """The events that end a stream: why it ended, and the tokens where they are asked for.

        They are those of the whole answer: zeros where they were not counted.
        """
        stop = self._open + b'{},"logprobs":null,"finish_reason":"%b"}]' % finish.encode() + self._end
        told = b""
        if self._include_usage:
            head = self._head.members("chat.completion.chunk")
            counted = (usage or Usage()).for_chat()
            told = sse.event(jsontext.dumps({**head, "choices": [], "usage": counted}))
        return self._begin() + stop + told + DONE

    def error(self, what: Problem, error: BaseException, request_id: str) -> bytes:
        """The event that ends a stream which failed: clients raise at it, and no [DONE] follows."""
        return sse.event(error_body.body(what, error, request_id))

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        first = b'{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]'
        return self._open + first + self._end
