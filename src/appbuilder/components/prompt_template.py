"""Prompt templates: text with holes, ``{name}``.

A template that ``str.format`` would take, with plain names in its holes, is read as ``str.format`` reads it:
``{{`` and ``}}`` stand for single braces, ``{name!r}`` and ``{name:>8}`` work. In any other (a JSON example
with single braces, say) only ``{name}`` is a hole and every other brace is text.

A name is letters of any script, digits, ``_`` and ``-``, and does not begin with a digit: ``{query}``,
``{文本}``, ``{user-name}``. These must be given, in a template for ``str.format`` also names with spaces.
Other text in braces (``{0}``, ``{user.name}``, ``{color: red}``) is filled where the values have exactly
that name, and stays as it is otherwise. No hole reads an attribute of its value; ``{user[name]}`` reads a
member.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter, punctuation
from typing import Any

from appbuilder.errors import InvalidRequest

# By what a name does not hold: \w lacks the vowel signs of many scripts.
_APART = re.escape("".join(sorted(set(punctuation) - set("_-"))))
_FIRST = rf"(?![\s\d-])[^{_APART}]"
_NAME = re.compile(rf"{_FIRST}(?:[^\s{_APART}])*")
_WORDS = re.compile(rf"{_NAME.pattern}(?: [^\s{_APART}]+)*")
_HOLE = re.compile(r"\{([^{}]+)\}")
_ITEM = re.compile(rf"({_NAME.pattern})((?:\[[^\[\]{{}}]+\])+)")
_SPECIFICATION = re.compile(r"(?:.?[<>=^])?[+\- ]?z?#?\d*[_,]?(?:\.\d+)?[bcdeEfFgGnosxX%]?", re.DOTALL)


class Template:
    """A prompt template; ``names`` are its variables, each once, in the order of their first holes."""

    def __init__(self, text: str) -> None:
        self.text = text
        formatted = _formatted_names(text)
        if formatted is None:
            found = [name for name in _HOLE.findall(text) if _NAME.fullmatch(name)]
            self._format_needs = None
        else:
            found = [name for name, needed in formatted if needed]
            self._format_needs = {name for name, _ in formatted}
        self.names = list(dict.fromkeys(found))

    def fill(self, values: Mapping[str, Any]) -> str:
        """The prompt with *values* in its holes; values without a hole are ignored.

        :raises InvalidRequest: a variable is missing, or its value does not fit its format.
        """
        for name in self.names:
            if name not in values:
                raise InvalidRequest(f"Missing input variable {name}: the message's content must give it.")
        if self._format_needs is None or not self._format_needs <= values.keys():
            return _HOLE.sub(lambda hole: _filled(hole, values), self.text)
        try:
            return self.text.format_map(values)
        except (ValueError, TypeError):
            raise InvalidRequest("An input variable does not fit its place in the prompt template.") from None


def _filled(hole: re.Match[str], values: Mapping[str, Any]) -> str:
    name = hole[1]
    if name in values:
        return str(values[name])
    item = _ITEM.fullmatch(name)
    if item is None or not isinstance(values.get(item[1]), (dict, list)):
        return hole[0]
    value = values[item[1]]
    for key in item[2][1:-1].split("]["):
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise InvalidRequest(
                f"Missing input variable {name}: the message's content must give it."
            ) from None
    return str(value)


def _formatted_names(text: str) -> list[tuple[str, bool]] | None:
    """The names in the holes of a template for ``str.format``, and whether each is surely a variable.

    None: the template is not one for ``str.format``.
    """
    names: list[tuple[str, bool]] = []
    try:
        for _, field, after_colon, _ in Formatter().parse(text):
            if field is None:
                continue
            specification = after_colon or ""
            inner = _formatted_names(specification)
            plain = _SPECIFICATION.fullmatch(specification) or "{" in specification
            if not _WORDS.fullmatch(field) or inner is None or not plain:
                return None
            # {margin:0} may be a rule of CSS as well as a width.
            names += [(field, not specification.isdigit()), *inner]
    except ValueError:
        return None
    return names
