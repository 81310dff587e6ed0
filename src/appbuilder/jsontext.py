"""JSON in one place: strict reading of what clients send, writing of what a program answers with.

RFC 8259 leaves open what a reader does with duplicate names; here they are an error, as are ``NaN``,
``Infinity``, lone surrogates, numbers longer than 40 digits and nesting deeper than 100, so that what is
accepted can be stored in every database and written back unchanged.

What a text costs is not its length but its values: a list takes two bytes, and a thousand times as long to
make, copy and write as two bytes of a string. So values can be counted before any is made.
"""

from __future__ import annotations

import codecs
import copy
import json
import math
from functools import partial
from sys import getsizeof
from typing import Any, NoReturn

import orjson
from pydantic_core import to_jsonable_python

from appbuilder import long_json
from appbuilder.errors import AnswerError

MAX_DEPTH = 100
MAX_DIGITS = 40
WRITTEN_DEPTH = 254
"""Levels of the deepest value that :func:`dumps` writes: orjson's limit, and pydantic's."""
_SHORT = 4096
"""Bytes of a text worth to be looked at first."""


class NotJson(ValueError):
    """The text is not JSON we accept; the message says why, without quoting the text."""


class TooManyValues(NotJson):
    """The text may be JSON, but holds more values than are read."""


def loads(
    data: bytes, max_depth: int = MAX_DEPTH, *, long_numbers: bool = False, max_values: int = 0
) -> Any:
    """Reads UTF-8 JSON.

    :param max_depth: for what we wrote ourselves around a value that was accepted.
    :param long_numbers: for what this package stored: numbers of as many digits as Python reads.
    :param max_values: values the text may hold, see :func:`holds_more_values`; 0: any number.
    :raises TooManyValues: it holds more; nothing of it was read then.
    :raises NotJson: not UTF-8, not JSON, duplicate names, NaN or Infinity, a lone surrogate, a number of more
        than 40 digits, or nesting deeper than *max_depth*.
    """
    if (simple := _simple_object(data)) is not None:
        return simple
    if max_values and holds_more_values(data, max_values):
        raise TooManyValues(f"it holds more than {max_values} values")
    try:
        value = (_patient_decoder if long_numbers else _decoder).decode(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise NotJson("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        # Some of the parser's sentences end with the word.
        raise NotJson(f"{error.msg.removesuffix(' at')} at character {error.pos}") from None
    except RecursionError:
        raise NotJson(f"it is nested deeper than {max_depth}") from None
    # Only a text with that many brackets can be that deep; the others are spared the walk.
    if data.count(b"[") + data.count(b"{") > max_depth and _deeper_than(value, max_depth):
        raise NotJson(f"it is nested deeper than {max_depth}")
    if b"\\ud" in data or b"\\uD" in data:
        _refuse_lone_surrogates(value)
    return value


def _simple_object(data: bytes) -> dict[str, Any] | None:
    """The object of a short text that is plainly what we accept, read with the quicker of two parsers.

    None: it may still be. Without escapes a text has two quotes for each name and each string, so one with
    fewer names than its quotes tell had a name twice; no nesting, and no numbers.
    """
    if len(data) > _SHORT or b"\\" in data or data.count(b"{") != 1 or b"[" in data:
        return None
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None  # the other parser says why
    if type(value) is not dict:
        return None
    strings = 0
    for member in value.values():
        if type(member) is str:
            strings += 1
        elif type(member) is not bool and member is not None:
            return None  # numbers are the other parser's affair
    return value if data.count(b'"') == 2 * (len(value) + strings) else None


def holds_more_values(data: bytes, most: int) -> bool:
    """Whether a JSON text holds more than *most* values: the whole, each element and each member.

    It makes none of them: a few passes at the speed of memory. Of what is no JSON it says either.
    """
    if data.count(b",") + data.count(b"[") + data.count(b"{") < most:
        return False  # even if none of them stands in a string
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Each string is a value or the name of one.
    if data.count(b'"') > 4 * most:
        return True
    outside = b'"'.join(data.split(b'"')[::2]).translate(None, b" \t\n\r")
    empty = outside.count(b"[]") + outside.count(b"{}")
    return 1 + outside.count(b",") + outside.count(b"[") + outside.count(b"{") - empty > most


SHORT = 1024
"""Bytes of a text whose value is not worth to be measured."""
LONG = 64 * 1024
"""Bytes of a text whose value is measured, which takes some time, and not estimated."""


def size_of(value: Any) -> int:
    """The bytes of memory that a JSON value takes."""
    size, left = 0, [value]
    while left:
        value = left.pop()
        size += getsizeof(value)
        if type(value) is dict:
            size += sum(map(getsizeof, value))
            left.extend(value.values())
        elif type(value) in (list, tuple):
            left.extend(value)
    return size


def memory_of(data: bytes) -> int:
    """About the bytes of memory that the value of a JSON text takes, or more."""
    values = data.count(b",") + data.count(b"[") + data.count(b"{")
    # One character of four bytes makes all of its text as wide.
    wide = not data.isascii() or b"\\u" in data
    return _VALUE * values + (4 if wide else 1) * len(data)


_VALUE = 100
"""Bytes of an element or a member, its list or object and its name included."""


def copied(value: Any) -> Any:
    """A copy of a JSON value that shares its texts; of what is not one, as ``copy.deepcopy`` makes it.

    ``deepcopy`` takes three times as long, as it looks for circles.
    """
    kind = type(value)
    if kind is dict:
        return {name: copied(member) for name, member in value.items()}
    if kind is list:
        return [copied(element) for element in value]
    return value if kind in _PLAIN else copy.deepcopy(value)


_PLAIN = frozenset((str, int, float, bool, type(None)))


def dumps(value: Any, *, in_parts: bool = True) -> bytes:
    """Writes *value* as UTF-8 JSON on one line; non-ASCII text is not escaped.

    Many clients cut a stream where ``str.splitlines`` does, so the line ends of Unicode are escaped. Lone
    surrogates become U+FFFD, NaN and Infinity null; integers of more than 64 bits stay exact; models of
    pydantic, dataclasses, sets, times and the like are written as pydantic writes them.

    :param in_parts: whether long texts are written in parts where :data:`long_texts_expected` is entered.
    :raises AnswerError: it holds something else; the text names its type.
    """
    if long_texts_expected.now and in_parts and type(value) is not str:  # which is a piece of a stream
        return long_json.written(value, partial(dumps, in_parts=False))
    try:
        text = orjson.dumps(value)
    except TypeError:
        text = _as_pydantic_writes(value)
    # The first byte of each of them, in the quickest form there is: this is done for each piece of a stream.
    if not text.isascii() and (0xE2 in text or 0xC2 in text):
        return one_line(text)
    return text


long_texts_expected = long_json.Expected()
"""To be entered where something is written that may hold long texts."""


def _as_pydantic_writes(value: Any) -> bytes:
    try:
        plain = _printable(to_jsonable_python(_printable(value), fallback=_refuse))
    except (RecursionError, ValueError) as error:
        reason = _REASONS.get(type(error))  # of this very type: a model's own serializer raises others
        if reason is None:
            raise
        raise AnswerError(f"A value of type {type_name(value)} is not JSON: {reason}.") from None
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


_TOO_DEEP = f"it is nested deeper than {WRITTEN_DEPTH} levels, or holds itself"
_REASONS = {RecursionError: _TOO_DEEP, ValueError: _TOO_DEEP, UnicodeDecodeError: "its bytes are not UTF-8"}


def _refuse(value: Any) -> NoReturn:
    raise AnswerError(
        f"A value of type {type_name(value)} is neither text, JSON, a pydantic model nor a dataclass: "
        "return one of these."
    )


def type_name(value: Any) -> str:
    """The full name of a value's type (of a class its own), for errors: a value may hold what a user said."""
    kind = value if isinstance(value, type) else type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def one_line(text: bytes) -> bytes:
    """JSON with the line ends of Unicode escaped; they can stand in its strings only."""
    for raw, escaped in _LINE_ENDS:
        text = text.replace(raw, escaped)
    return text


# JSON itself escapes the others of str.splitlines: they are below 0x20.
_LINE_ENDS = tuple((end.encode(), b"\\u%04x" % ord(end)) for end in "\x85\u2028\u2029")


def clean(text: str) -> str:
    """*text* with lone surrogates, which UTF-8 cannot hold, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_clean(text: str) -> bool:
    """Whether *text* has no lone surrogate, so that UTF-8 can hold it."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Halves:
    """Joins the halves of surrogate pairs where pieces of a text meet, so that each piece is :func:`clean`.

    The first half of a pair at the end of a piece is held back until the next one; of pieces that are bytes
    of UTF-8, the beginning of a character.
    """

    __slots__ = ("_bytes", "_half")

    def __init__(self) -> None:
        self._half = ""
        self._bytes = b""

    @property
    def holds(self) -> bool:
        """Whether something is held back."""
        return bool(self._half or self._bytes)

    def join(self, piece: str | bytes) -> str:
        """What can be said by now."""
        if self._bytes or isinstance(piece, bytes):
            piece = self._decoded(piece)
        if not self._half and is_clean(piece):
            return piece
        text = self._half + piece
        self._half = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
        return clean(text[:-1] if self._half else text)

    def end(self) -> str:
        """What is left when nothing follows: U+FFFD for what is not whole, or nothing."""
        left, self._half, self._bytes = clean(self._half) + self._bytes.decode("utf-8", "replace"), "", b""
        return left

    def _decoded(self, piece: str | bytes) -> str:
        if isinstance(piece, str):
            text, self._bytes = self._bytes.decode("utf-8", "replace") + piece, b""
            return text
        data = self._bytes + piece
        text, read = codecs.utf_8_decode(data, "replace", False)
        self._bytes = data[read:]
        return text


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise NotJson("a name stands twice in one object")
    return result


def _constant(name: str) -> None:
    raise NotJson(f"{name} is not a JSON number")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise NotJson(f"a number has more than {MAX_DIGITS} digits")
    return int(digits)


def _long_integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # more than sys.get_int_max_str_digits()
        raise NotJson("a number has too many digits") from None


def _real(digits: str) -> float:
    if len(digits) > MAX_DIGITS:
        raise NotJson(f"a number has more than {MAX_DIGITS} digits")
    return _long_real(digits)


def _long_real(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise NotJson("a number is too large")
    return value


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_constant, parse_int=_integer, parse_float=_real
)
_patient_decoder = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_constant, parse_int=_long_integer, parse_float=_long_real
)


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotJson("it holds half of a surrogate pair") from None


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [child for node in level if isinstance(node, (dict, list))
                 for child in (node.values() if isinstance(node, dict) else node)]
        if not level:
            return False
    return True


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key) if isinstance(key, str) else key: _printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
