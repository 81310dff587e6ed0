"""Prompt templates: text with holes, ``{name}``.

A template that ``str.format`` would take, with plain names in its holes, is read as ``str.format`` reads it:
``{{`` and ``}}`` stand for single braces, ``{name!r}`` and ``{name:>8}`` work. In any other (a JSON example
with single braces, say) only ``{name}`` is a hole and every other brace is text. A hole never reads an
attribute or an item of its value: ``{user.password}`` is text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter
from typing import Any

from appbuilder.errors import InvalidRequest

_NAME = re.compile(r"[a-zA-Z_]\w*")
_HOLE = re.compile(r"\{([a-zA-Z_]\w*)\}")


class Template:
    """A prompt template; ``names`` are its variables, each once, in the order of their first holes."""

    def __init__(self, text: str) -> None:
        self.text = text
        formatted = _formatted_names(text)
        self._is_format = formatted is not None
        self.names = list(dict.fromkeys(_HOLE.findall(text) if formatted is None else formatted))

    def fill(self, values: Mapping[str, Any]) -> str:
        """The prompt with *values* in its holes; values nobody asks for are ignored.

        :raises InvalidRequest: a variable is missing, or its value does not fit its format.
        """
        for name in self.names:
            if name not in values:
                raise InvalidRequest(f"Missing input variable {name}: the message's content must give it.")
        if not self._is_format:
            return _HOLE.sub(lambda hole: str(values[hole[1]]), self.text)
        try:
            return self.text.format_map(values)
        except (ValueError, TypeError):
            raise InvalidRequest("An input variable does not fit its place in the prompt template.") from None


def _formatted_names(text: str) -> list[str] | None:
    """The names in the holes of a template for ``str.format``, or None where it is not one we read so."""
    names: list[str] = []
    try:
        for _, field, specification, _ in Formatter().parse(text):
            if field is None:
                continue
            inner = _formatted_names(specification or "")
            if not _NAME.fullmatch(field) or inner is None:
                return None
            names += [field, *inner]
    except ValueError:
        return None
    return names
