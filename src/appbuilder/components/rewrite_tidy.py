"""Takes from a small model's rewrite what it puts around it: labels, quotes, remarks."""

from __future__ import annotations

import re

from appbuilder.components.model_component import Trim

_LABEL = re.compile(
    r"(?:(?:答案|回答|问题|输出|结果|改写|改写后|改写结果|改写问题|改写后的问题|独立问题|完整问题|重写|"
    r"Answer|Question|Output|Rewrite|User|User1)\s*[：:]\s*)+",
    re.IGNORECASE,
)
_QUOTES = {"“": "”", "‘": "’", '"': '"', "'": "'", "「": "」", "『": "』", "`": "`"}
_UNDECIDED = 24
"""Characters held back at the start; no label is longer."""


class RewriteTrim(Trim):
    """Lets one line of text pass, without a label before it, quotes around it and spaces at its ends."""

    def __init__(self) -> None:
        self._held = ""
        self._begun = False
        self._quote = ""
        self._done = False

    def feed(self, text: str) -> str:
        if self._done:
            return ""
        self._held += text
        if not self._begun:
            self._held = self._held.lstrip()
            if len(self._held) < _UNDECIDED and "\n" not in self._held:
                return ""
            self._begin()
        return self._pass_on()

    def end(self) -> str:
        if self._done:
            return ""
        if not self._begun:
            self._begin()
        rest = self._pass_on()
        if self._done:
            return rest
        return (rest + self._held).rstrip().removesuffix(self._quote or "\n").rstrip()

    def _begin(self) -> None:
        self._begun = True
        self._held = _LABEL.sub("", self._held.lstrip(), count=1).lstrip()
        self._quote = _QUOTES.get(self._held[:1], "")
        if self._quote:
            self._held = self._held[1:]

    def _pass_on(self) -> str:
        line, newline, _ = self._held.partition("\n")
        if newline and line.strip():
            self._done, self._held = True, ""
            return line.rstrip().removesuffix(self._quote or "\n").rstrip()
        # The end may turn out to be a closing quote or spaces: it waits.
        tail = len(line) - len(line.rstrip().removesuffix(self._quote or "\n").rstrip())
        cut = len(line) - tail
        said, self._held = self._held[:cut], self._held[cut:]
        return said
