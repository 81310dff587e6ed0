"""From the events of a run to what the page shows, in order; pure, the same live and after a reload."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from appbuilder.core.events import OUTPUT, RESTART, RunEvent
from appbuilder.core.message import text_of
from appbuilder.serve.page import outputs
from appbuilder.serve.page.mathematics import Mathematics
from appbuilder.serve.page.outputs.markdown import has_open_fence

REASONING = "reasoning"
"""Name under which reasoning folds open."""


@dataclass(slots=True)
class Part:
    """One part of an answer: text that may still grow, or something that is shown as it is.

    ``fold`` is the name under which the part folds open; empty: it does not.
    """

    number: int
    markdown: str = ""
    fold: str = ""
    grows: bool = False
    elements: list[outputs.Element] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Grown:
    """*text* was added to the end of a part that was shown before."""

    part: Part
    text: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A part is new, or another than before: the part as it was then, whatever was added to it later."""

    part: Part


@dataclass(frozen=True, slots=True)
class Attached:
    """An element was added to a part."""

    part: Part
    element: outputs.Element


@dataclass(frozen=True, slots=True)
class Done:
    """Something that the run did, or goes on doing: new, or with more known of it than before.

    :param kind: ``model``, ``event`` or ``tool``.
    :param data: of a step, as :class:`appbuilder.events.Step`; of a tool ``name``, ``arguments``, and with
        its answer ``content`` and ``error``.
    :param at: when it began.
    """

    id: str
    kind: str
    data: Mapping[str, Any]
    ended: bool
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Removed:
    """What was shown before is void."""

    item: Part | Done


Change = Grown | Changed | Attached | Done | Removed


class Composer:
    """Takes events in order and says what changes on the page with them."""

    def __init__(self) -> None:
        self.items: list[Part | Done] = []
        """All that is shown, in order."""
        self._count = 0
        self._done: dict[tuple[str, str], int] = {}
        self._progress: dict[str, Part] = {}
        self._mathematics = Mathematics()

    @property
    def parts(self) -> Sequence[Part]:
        """The parts of the answer, in order."""
        return [item for item in self.items if isinstance(item, Part)]

    def feed(self, events: Iterable[RunEvent]) -> list[Change]:
        """The changes these events make; text that stands together is one change."""
        changes: list[Change] = []
        text: list[str] = []
        for event in _coalesced(events):
            if event.kind in ("step", "tool_call", "tool_result"):
                changes += self._grow(text) + self._do(event)
            elif event.kind == RESTART:
                changes += self._grow(text) + self._restart()
            else:
                for shown in _shown(event):
                    if isinstance(shown, outputs.Text):
                        text.append(shown.markdown)
                    else:
                        changes += self._grow(text) + self.end() + self._show(shown)
        return changes + self._grow(text)

    def _show(self, shown: outputs.Block | outputs.Element | outputs.Step | outputs.Progress) -> list[Change]:
        if isinstance(shown, outputs.Block):
            return self._separated(f"\n\n{shown.markdown}\n\n")
        return self._add(shown)

    def _do(self, event: RunEvent) -> list[Change]:
        key = ("step" if event.kind == "step" else "tool", str(event.data.get("id")))
        at = self._done.get(key)
        before = None if at is None else self.items[at]
        assert before is None or isinstance(before, Done)
        done = _done(event, before)
        if at is not None:
            self.items[at] = done
            return [done]
        changes = self.end() + self._closed()
        self._done[key] = len(self.items)
        self.items.append(done)
        return [*changes, done]

    def _closed(self) -> list[Change]:
        """Ends a part that grows: what follows does not belong to it."""
        last = self.items[-1] if self.items else None
        if not isinstance(last, Part) or not last.grows:
            return []
        last.grows = False
        return [_changed(last)]

    def _restart(self) -> list[Change]:
        removed: list[Change] = [Removed(item) for item in self.items]
        self.items, self._done, self._progress = [], {}, {}
        self._mathematics = Mathematics()
        return removed

    def end(self) -> list[Change]:
        """The changes that were held back for what might have followed."""
        passed, self._mathematics = self._mathematics, Mathematics()
        return self._put(passed.end())

    def close(self, line: str) -> list[Change]:
        """The changes that *line* makes, which stands below all that was said."""
        return self.end() + self._separated(f"\n\n{line}")

    def _grow(self, text: list[str]) -> list[Change]:
        words = self._mathematics.feed("".join(text))
        text.clear()
        return self._put(words)

    def _put(self, words: str) -> list[Change]:
        if not words:
            return []
        last = self.items[-1] if self.items else None
        if isinstance(last, Part) and last.grows:
            last.markdown += words
            return [Grown(last, words)]
        return [_changed(self._new(words, grows=True))]

    def _separated(self, markdown: str) -> list[Change]:
        last = self.items[-1] if self.items else None
        # Behind an open fence what follows would be taken for code.
        is_open = isinstance(last, Part) and last.grows and has_open_fence(last.markdown)
        closed = self._closed() if is_open else []
        return closed + self._put(markdown)

    def _add(self, shown: outputs.Element | outputs.Step | outputs.Progress) -> list[Change]:
        if isinstance(shown, outputs.Progress):
            return [_changed(self._progressed(shown))]
        if isinstance(shown, outputs.Step):
            return [_changed(self._folded(shown))]
        part = self._new("")
        part.elements.append(shown)
        return [_changed(part), Attached(part, shown)]

    def _folded(self, shown: outputs.Step) -> Part:
        last = self.items[-1] if self.items else None
        if not isinstance(last, Part) or last.fold != shown.name:
            return self._new(shown.markdown, fold=shown.name)
        last.markdown += shown.markdown
        return last

    def _progressed(self, shown: outputs.Progress) -> Part:
        part = self._progress.get(shown.id)
        if part is None:
            part = self._progress[shown.id] = self._new("")
        part.markdown = shown.markdown
        return part

    def _new(self, markdown: str, *, fold: str = "", grows: bool = False) -> Part:
        part = Part(self._count, markdown, fold, grows)
        self._count += 1
        self.items.append(part)
        return part


def _changed(part: Part) -> Changed:
    return Changed(replace(part))


def _coalesced(events: Iterable[RunEvent]) -> Iterator[RunEvent]:
    """The events, reasoning that stands together as one: each change of it sends all of it again."""
    for kind, group in groupby(events, key=lambda event: event.kind):
        same = list(group)
        if kind == REASONING:
            text = "".join(text_of(event.data.get("delta")) for event in same)
            same = [replace(same[0], data={"delta": text})]
        yield from same


def _shown(event: RunEvent) -> Iterable[outputs.Shown]:
    data = event.data
    if event.kind == "text":
        return (outputs.Text(data["delta"]),)
    if event.kind == REASONING:
        return (outputs.Step(REASONING, text_of(data.get("delta"))),)
    if event.kind == "file":
        return outputs.shown(_file(data))
    if event.kind != OUTPUT:
        return ()
    value = data.get("value")
    return outputs.shown(value) if isinstance(value, (dict, list)) else (outputs.Text(text_of(value)),)


def _file(data: Mapping[str, Any]) -> dict[str, Any]:
    is_image = text_of(data.get("media_type")).startswith("image/")
    text = {"filename": data.get("name"), "url": data.get("url")}
    return {"type": "image" if is_image else "files", "text": text}


def _done(event: RunEvent, before: Done | None) -> Done:
    """What *event* makes of what was known *before* of the same step or tool."""
    data, at = event.data, event.at if before is None else before.at
    if event.kind == "step":
        kind, ended = str(data.get("kind") or "event"), bool(data.get("ended", True))
        return Done(str(data.get("id")), kind, data, ended, at)
    known = {} if before is None else dict(before.data)
    if event.kind == "tool_call":
        first, more = known.get("arguments"), data.get("arguments")
        both = first + more if isinstance(first, str) and isinstance(more, str) else more
        known |= {"name": data.get("name") or known.get("name"), "arguments": both}
        return Done(f"tool/{data.get('id')}", "tool", known, before is not None and before.ended, at)
    known |= {"content": data.get("content"), "error": data.get("error")}
    return Done(f"tool/{data.get('id')}", "tool", known, ended=True, at=at)
