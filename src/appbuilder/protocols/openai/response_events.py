"""The events of a response that is streamed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appbuilder import jsontext
from appbuilder.engine.reader import Batch
from appbuilder.protocols import sse
from appbuilder.protocols.openai.response_objects import Response, answered, failed, part, stopped
from appbuilder.protocols.openai.shown import is_shown, shown_text

_DELTA = "response.output_text.delta"


class ResponseEncoder:
    """Writes the events of one stream, numbered; the part that is the same in each delta is encoded once."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._number = 0
        self._texts: list[str] = []
        self._created = self._has_item = False
        place = jsontext.dumps({"type": _DELTA, **self._place(), "logprobs": []})
        self._before = f"event: {_DELTA}\ndata: ".encode() + place[:-1] + b',"sequence_number":'

    def events(self, batch: Batch) -> bytes:
        """The events of what leaves together; empty where none of it is shown."""
        shown = batch.entries if not batch.log.others else [each for each in batch.entries if is_shown(each)]
        if not shown:
            return b""
        begin = self._create() + self._begin_item()
        texts = [entry if type(entry) is str else shown_text(entry) for entry in shown]
        self._texts += texts
        before, first, dumps = self._before, self._number, jsontext.dumps
        self._number += len(texts)
        events = [
            before + b'%d,"delta":%b}\n\n' % (number, dumps(text)) for number, text in enumerate(texts, first)
        ]
        return begin + b"".join(events)

    def ended(self, answer: Mapping[str, Any], completed: int) -> bytes:
        """The events that end a response whose run came to its end.

        :param answer: the answer's members.
        :param completed: when that was, in seconds since 1970.
        """
        begin = self._create() + self._begin_item()
        whole = answered(self._response, {**answer, "content": "".join(self._texts)}, completed)
        status = whole["status"]
        return begin + self._end_item(status) + self._event(f"response.{status}", response=whole)

    def stopped(self) -> bytes:
        """The events that end a response that was stopped."""
        begin, content = self._break_off()
        return begin + self._event("response.incomplete", response=stopped(self._response, content))

    def failed(self, status: int, text: str) -> bytes:
        """The events that end a response that failed.

        :param status: that of HTTP for the error.
        """
        begin, content = self._break_off()
        return begin + self._event("response.failed", response=failed(self._response, content, status, text))

    def _break_off(self) -> tuple[bytes, str | None]:
        begin = self._create()
        if not self._has_item:
            return begin, None
        return begin + self._end_item("incomplete"), "".join(self._texts)

    def _create(self) -> bytes:
        if self._created:
            return b""
        self._created = True
        told = self._response.members("in_progress")
        return self._event("response.created", response=told) + self._event(
            "response.in_progress", response=told
        )

    def _begin_item(self) -> bytes:
        if self._has_item:
            return b""
        self._has_item = True
        item = self._response.item("in_progress", None)
        return self._event("response.output_item.added", output_index=0, item=item) + self._event(
            "response.content_part.added", **self._place(), part=part("")
        )

    def _end_item(self, status: str) -> bytes:
        text = "".join(self._texts)
        return (
            self._event("response.output_text.done", **self._place(), text=text, logprobs=[])
            + self._event("response.content_part.done", **self._place(), part=part(text))
            + self._event("response.output_item.done", output_index=0, item=self._response.item(status, text))
        )

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._response.item_id, "output_index": 0, "content_index": 0}

    def _event(self, kind: str, **members: Any) -> bytes:
        told = {"type": kind, "sequence_number": self._number, **members}
        self._number += 1
        return f"event: {kind}\n".encode() + sse.event(jsontext.dumps(told))
