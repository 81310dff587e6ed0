"""Takes from a small model's rewrite what it puts around it: labels, quotes, remarks."""

from __future__ import annotations

import re

from appbuilder.components.model_component import Trim

_LABEL = re.compile(
    r"(?:(?:答案|回答|问题|输出|结果|改写|改写后|改写结果|改写问题|改写后的问题|独立问题|完整问题|重写|"
    r"Answer|Question|Output|Rewrite|User|User1)[ \t]{0,2}[：:]\s*)+",
    re.IGNORECASE,
)
_QUOTES = {"“": "”", "‘": "’", '"': '"', "'": "'", "「": "」", "『": "』", "`": "`"}
_DECIDED = 24
"""Characters after which a text that is no label yet will not become one."""


class RewriteTrim(Trim):
    """Lets one line of text pass, without a label before it, quotes around it and spaces at its ends.

    What it lets pass does not depend on how the text is cut into pieces.
    """

    def __init__(self) -> None:
        self._held = ""
        self._begun = False
        self._done = False

    def feed(self, text: str) -> str:
        """What may be said after *text* came in."""
        if self._done:
            return ""
        self._held += text
        if not self._begun and not self._begin(_DECIDED):
            return ""
        line, newline, _ = self._held.partition("\n")
        if newline:
            return self._finish(line)
        if line[:1] in _QUOTES:
            return ""  # whether the quotes are around all of it is seen at its end
        said = line.rstrip()
        self._held = line[len(said):]
        return said

    def end(self) -> str:
        """What is left to say when the answer ended."""
        if self._done or (not self._begun and not self._begin(0)):
            return ""
        return self._finish(self._held)

    def _begin(self, enough: int) -> bool:
        text = _LABEL.sub("", self._held.lstrip(), count=1).lstrip()
        if text and (len(text) >= enough or "\n" in text):
            self._begun, self._held = True, text
        return self._begun

    def _finish(self, line: str) -> str:
        self._done = True
        line = line.rstrip()
        closing = _QUOTES.get(line[:1])
        if closing and line.endswith(closing) and closing not in line[1:-1]:
            return line[1:-1].strip()
        return line
