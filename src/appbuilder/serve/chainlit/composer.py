"""From the pieces of an answer to the parts it is shown in; pure, the same live and after a reload."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from appbuilder.core.message import text_of
from appbuilder.serve.chainlit import outputs
from appbuilder.serve.chainlit.mathematics import Mathematics
from appbuilder.serve.chainlit.outputs.markdown import has_open_fence


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


Change = Grown | Changed | Attached


class Composer:
    """Takes pieces in order and says what changes on the page with them."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self._progress: dict[str, Part] = {}
        self._mathematics = Mathematics()

    def feed(self, pieces: Iterable[Any]) -> list[Change]:
        """The changes these pieces make; text that stands together is one change."""
        changes: list[Change] = []
        text: list[str] = []
        for piece in pieces:
            for shown in self._shown(piece):
                if isinstance(shown, outputs.Text):
                    text.append(shown.markdown)
                elif isinstance(shown, outputs.Block):
                    changes += self._grow(text) + self.end()
                    changes += self._apart(f"\n\n{shown.markdown}\n\n")
                else:
                    changes += self._grow(text) + self.end()
                    changes += self._add(shown)
        return changes + self._grow(text)

    def end(self) -> list[Change]:
        """The changes that were held back for what might have followed."""
        passed, self._mathematics = self._mathematics, Mathematics()
        return self._put(passed.end())

    def close(self, line: str) -> list[Change]:
        """The changes that *line* makes, which stands below all that was said."""
        return self.end() + self._apart(f"\n\n{line}")

    def _shown(self, piece: Any) -> Iterable[outputs.Shown]:
        if type(piece) is str:
            return (outputs.Text(piece),)
        if isinstance(piece, (dict, list)):
            return outputs.shown(piece)
        return (outputs.Text(text_of(piece)),)

    def _grow(self, text: list[str]) -> list[Change]:
        words = self._mathematics.feed("".join(text))
        text.clear()
        return self._put(words)

    def _put(self, words: str) -> list[Change]:
        if not words:
            return []
        last = self.parts[-1] if self.parts else None
        if last is not None and last.grows:
            last.markdown += words
            return [Grown(last, words)]
        return [_changed(self._new(words, grows=True))]

    def _apart(self, markdown: str) -> list[Change]:
        last = self.parts[-1] if self.parts else None
        closed: list[Change] = []
        if last is not None and last.grows and has_open_fence(last.markdown):
            last.grows = False  # what follows would be taken for code
            closed.append(_changed(last))
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
        last = self.parts[-1] if self.parts else None
        if last is None or last.fold != shown.name:
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
        part = Part(len(self.parts), markdown, fold, grows)
        self.parts.append(part)
        return part


def _changed(part: Part) -> Changed:
    return Changed(replace(part))
