"""What an application says in a run, as its double says it: events of every kind, on the recorded wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from appbuilder.testing.server import Reply

Members = dict[str, Any]


@dataclass(frozen=True)
class AppReply(Reply):
    """How an :class:`~.app.AppDouble` answers one call; ``pieces``, ``usage``, faults and gates are
    :class:`~.server.Reply`'s. ``cut_after`` and the like count messages; the first is a status without text.

    :param events: events before the text, each with any of ``event_type``, ``event_status``,
        ``content_type``, ``outputs``, ``usage``...
    :param published: texts that a workflow says on its way.
    :param tool_calls: the run stops and wants these local functions: ``(name, arguments)``.
    :param thought: why it wants them.
    :param asks: the run, a workflow's, stops with this question; the next run of the conversation resumes it.
    :param follow_up: questions it proposes at the end.
    """

    events: Sequence[Mapping[str, Any]] = ()
    published: Sequence[str] = ()
    thought: str = ""
    asks: str | None = None
    follow_up: Sequence[str] = ()


@dataclass(frozen=True)
class Run:
    """One run.

    :param members: of each of its messages: ``request_id``, ``date``, ``conversation_id``, ``message_id``.
    :param call_ids: ids of its tool calls; *question_id*: of what it asks.
    """

    reply: AppReply
    pieces: Sequence[str]
    usage: Mapping[str, Any]
    members: Mapping[str, Any]
    call_ids: Sequence[str] = ()
    question_id: str = ""

    def messages(self) -> list[Members]:
        """What a streamed run says, message by message."""
        said = [self._message(_event(content_type="status"))]
        said += [self._message(_event(**event)) for event in self.reply.events]
        said += [self._message(_event(outputs={"text": piece}), answer=piece) for piece in self.pieces]
        said += [self._message(event) for event in self._published()]
        if not self.reply.unfinished:
            said += [self._message(event) for event in self._end()]
            said[-1]["is_completion"] = not self.reply.tool_calls
            said[-1] |= self.reply.extra
        return said

    def whole(self) -> Members:
        """What it says where it is not streamed."""
        text = "".join(self.pieces)
        events = [_event(**event) for event in self.reply.events]
        if text:
            events.append(_event(event_status="done", outputs={"text": text}))
        events += [*self._published(), *self._end()]
        whole = self._message(*events, answer=text)
        return {**whole, "is_completion": not self.reply.tool_calls, **self.reply.extra}

    def _message(self, *events: Members, answer: str = "") -> Members:
        numbered = [{"event_id": str(number), **event} for number, event in enumerate(events, 1)]
        head = {name: self.members[name] for name in ("request_id", "date")}
        rest = {name: self.members[name] for name in ("conversation_id", "message_id")}
        return {**head, "answer": answer, **rest, "is_completion": False, "content": numbered}

    def _published(self) -> list[Members]:
        texts = [*self.reply.published, *([] if self.reply.asks is None else [self.reply.asks])]
        return [_workflow("publish_message", {"message": text}) for text in texts]

    def _end(self) -> list[Members]:
        if self.reply.tool_calls:
            return [self._interrupt()]
        ends = [_event(event_status="done", outputs={"text": ""}, usage=dict(self.usage))]
        if self.reply.asks is not None:
            asked = {"interrupt_event_id": self.question_id, "interrupt_event_type": "chat"}
            ends.append(_workflow("chatflow_interrupt", asked))
        if self.reply.follow_up:
            proposed = {"json": {"follow_up_querys": list(self.reply.follow_up)}}
            ends.append(_event("FollowUpQuery", "done", "json", outputs=proposed))
        return [*ends, _event("Success", "success", "status")]

    def _interrupt(self) -> Members:
        calls = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": dict(arguments)}}
            for call_id, (name, arguments) in zip(self.call_ids, self.reply.tool_calls, strict=True)
        ]
        name, arguments = self.reply.tool_calls[0]
        first = {"thought": self.reply.thought, "name": name, "arguments": dict(arguments)}
        outputs = {"text": {"function_call": first}}
        return _event("Interrupt", "interrupt", "function_call", outputs=outputs, tool_calls=calls)


def _workflow(content_type: str, outputs: Members) -> Members:
    return _event("chatflow", "done", content_type, outputs=outputs)


def _event(
    event_type: str = "ChatAgent", event_status: str = "running", content_type: str = "text", **members: Any
) -> Members:
    return {
        "event_code": 0,
        "event_message": "",
        "event_type": event_type,
        "event_status": event_status,
        "content_type": content_type,
        "outputs": {},
        **members,
    }
