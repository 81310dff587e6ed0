from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appbuilder import jsontext, long_json
from appbuilder.errors import AnswerError

finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**38), 10**38) | finite | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert jsontext.loads(jsontext.dumps(value)) == value


@given(st.text(alphabet=st.sampled_from("a海“é\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\r\n😀\u00a0")))
def test_what_is_written_is_one_line_for_every_reader(text: str) -> None:
    for value in (text, {text: [text]}, {"n": 10**30, "text": text}):
        written = jsontext.dumps(value)
        assert len(written.decode().splitlines()) == 1
        assert jsontext.loads(written) == value
    others = "".join(set(text) & set("海“é😀"))
    assert others in jsontext.dumps(others).decode()


@given(st.binary())
def test_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        jsontext.loads(data)
    except jsontext.NotJson:
        return
    json.loads(data)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a":1,"a":2}', "a name stands twice"),
        (b'{"a":{"b":1,"b":1}}', "a name stands twice"),
        (b"NaN", "NaN is not a JSON number"),
        (b"[-Infinity]", "-Infinity is not"),
        (b"1e999", "too large"),
        (b"9" * 5000, "more than 40 digits"),
        (b"1." + b"9" * 5000, "more than 40 digits"),
        (b"[" * 100_000, "nested deeper"),
        (b"[" * 101 + b"]" * 101, "nested deeper"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "nested deeper"),
        (b"\xff", "not UTF-8"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\uDFFF":1}', "surrogate"),
        (b'{"a":', "Expecting value"),
        (b"", "Expecting value"),
        (b"{} {}", "Extra data"),
    ],
)
def test_what_is_refused_and_why(text: bytes, reason: str) -> None:
    with pytest.raises(jsontext.NotJson, match=reason):
        jsontext.loads(text)


def test_the_limits_themselves_pass() -> None:
    assert jsontext.loads(b"[" * 100 + b"]" * 100)
    assert jsontext.loads(b"9" * 40) == int("9" * 40)
    assert jsontext.loads(b'"\\ud83d\\ude00"') == "😀"


def test_values_that_json_has_no_form_for() -> None:
    odd: dict[Any, Any] = {"s": "a\ud800b", "big": 2**80, "nan": float("nan"), 1: "int key", "set": {1},
           "when": datetime(2024, 7, 30), "你": "好"}
    odd["pair"] = {(1, 2): 3}
    written = jsontext.dumps(odd)
    read = json.loads(written)
    assert read["s"] == "a\ufffdb"
    assert read["big"] == 2**80
    assert read["nan"] is None
    assert read["1"] == "int key"
    assert read["pair"] == {"1,2": 3}
    assert "你".encode() in written
    for unknown in (object(), {"a": [object()]}, {object(): 1}):
        with pytest.raises(AnswerError, match="object"):
            jsontext.dumps(unknown)


def test_what_cannot_be_written_is_refused_with_a_sentence() -> None:
    circle: list[Any] = []
    circle.append(circle)
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    odd = ((circle, "holds itself"), (deep, "nested deeper than 254"), ({"a": b"\xff"}, "UTF-8"))
    for value, reason in odd:
        with pytest.raises(AnswerError, match=f"A value of type (list|dict) is not JSON.*{reason}"):
            jsontext.dumps(value)


# The quick path for short objects

simple = st.none() | st.booleans() | st.text()
near_simple = st.dictionaries(st.text(), simple | json_values, max_size=4)
"""Objects of the kind that requests are, and some that are more."""


def strictly(text: bytes) -> Any:
    """What the strict parser alone makes of *text*; a reason where it refuses it."""
    with mock.patch.object(jsontext, "_simple_object", return_value=None):
        return tried(text)


def tried(text: bytes) -> Any:
    try:
        return jsontext.loads(text)
    except jsontext.NotJson as error:
        return f"refused: {error}"


@st.composite
def spelled(draw: st.DrawFn) -> bytes:
    """An object as somebody may write it: names twice, escapes or none, blanks, numbers, nesting."""
    members = []
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from(["a", "b", "message", "", "字", '"', "\\", "\ud83d"]) | st.text())
        escaped = draw(st.booleans())
        value = draw(simple | json_values | st.sampled_from([2**80, 1e300, -0.0, 10**39]))
        members.append(f"{json.dumps(name, ensure_ascii=escaped)}:{json.dumps(value, ensure_ascii=escaped)}")
    blank = draw(st.sampled_from(["", " ", "\n", "\t \r\n", "\u00a0", "\ufeff"]))
    comma = draw(st.sampled_from([",", ", ", ",,"]))
    rest = draw(st.sampled_from(["", "", "", "}", "{}", "\x00"]))
    text = f"{blank}{{{comma.join(members)}}}{blank}{rest}"
    return text.encode("utf-8", "surrogatepass")


@example(b'{"a":1,"a":2}')
@example(b'{"a":"x","a":"x"}')
@example(b'{"a":null,"a":null}')
@example(b'{"a":"\\u0061"}')
@example(b'{"a":"{"}')
@example(b'{"a":"\x7f","b":true}')
@example(b'{"a":"\x1f"}')
@example(b'{"a":1e400}')
@example(b'{"a":NaN}')
@example(b'{"a":"\xed\xa0\x80"}')
@example(b'{"a":"\xc0\x80"}')
@example(b'\xef\xbb\xbf{"a":true}')
@example(b'{"a":true,}')
@example(b"{'a':true}")
@given(spelled())
def test_the_quick_path_accepts_what_the_strict_parser_does_and_gives_the_same(text: bytes) -> None:
    assert same(tried(text), strictly(text))


@given(spelled(), st.integers(0, 200), st.binary(min_size=1, max_size=2))
def test_also_where_a_text_is_damaged(text: bytes, at: int, damage: bytes) -> None:
    damaged = text[:at] + damage + text[at + len(damage):]
    assert same(tried(damaged), strictly(damaged))


@given(near_simple)
def test_also_as_clients_write_it(value: dict[str, Any]) -> None:
    for text in (jsontext.dumps(value), json.dumps(value).encode(), json.dumps(value, indent=1).encode()):
        assert same(tried(text), strictly(text))


@given(st.dictionaries(st.text(alphabet="ab字 {}:,'"), st.none() | st.booleans() | st.text(alphabet="ab字 ")))
def test_most_requests_take_it(value: dict[str, Any]) -> None:
    text = jsontext.dumps(value)
    if text.count(b"{") == 1:
        assert jsontext._simple_object(text) == value


def same(one: Any, other: Any) -> bool:
    """Equal, also in what Python takes for equal: ``True`` and 1, 0.0 and -0.0."""
    return repr(one) == repr(other)


# How many values a text holds


def values_of(value: Any) -> int:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(values_of, members))


spaced = st.sampled_from([None, 0, 1])
marks = st.text(alphabet='[]{},:"\\ \n\u00e9')
marked_values = st.recursive(
    st.none() | st.integers(-9, 9) | marks,
    lambda inner: st.lists(inner) | st.dictionaries(marks, inner),
    max_leaves=30,
)


@given(marked_values, spaced)
@example([], 1)
@example([[], {}, "", "[]"], None)
@example('\\"', None)
def test_values_are_counted_without_being_read(value: Any, indent: int | None) -> None:
    data = json.dumps(value, indent=indent).encode()
    number = values_of(value)
    assert not jsontext.holds_more_values(data, number)
    assert number == 1 or jsontext.holds_more_values(data, number - 1)


@given(st.binary() | st.text(alphabet='[]{},:"\\1').map(str.encode))
def test_counting_says_something_of_what_is_no_json(data: bytes) -> None:
    assert jsontext.holds_more_values(data, 3) in (True, False)


@pytest.mark.parametrize("part", [b"[],", b"1,", b'"",', b'{"a":1},'])
def test_too_many_values_are_refused_before_one_is_made(part: bytes) -> None:
    data = b"[" + part * 1_000 + b"1]"
    assert jsontext.loads(data, max_values=3_001)
    with (
        mock.patch.object(jsontext, "_decoder", None),
        pytest.raises(jsontext.TooManyValues, match="more than 900 values"),
    ):
        jsontext.loads(data, max_values=900)


def test_texts_full_of_commas_and_brackets_are_one_value() -> None:
    data = json.dumps({"message": '[1,2,"3"],\\' * 100}).encode()
    assert jsontext.loads(data, max_values=2)


@given(json_values)
def test_a_copy_is_equal_and_shares_nothing_that_can_change(value: Any) -> None:
    copy = jsontext.copied({"value": value})
    assert copy == {"value": value}
    if isinstance(value, (list, dict)):
        value.clear()
        assert copy["value"] is not value


def test_what_is_no_json_value_is_copied_deeply() -> None:
    inner = [1]
    copy = jsontext.copied([(inner,)])
    inner.append(2)
    assert copy == [([1],)]


@pytest.mark.parametrize("text", [b'{"a": "b', b'{"a": "\n"}', b'"'])
def test_the_place_of_an_error_is_said_once(text: bytes) -> None:
    with pytest.raises(jsontext.NotJson, match=r"^[A-Z][a-z ]+ at character \d+$") as caught:
        jsontext.loads(text)
    assert "at at" not in str(caught.value)


# Long texts


@given(st.recursive(
    st.text(max_size=30) | st.integers() | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
))
@example(["\U0001f600\u2028\\\"" * 9])
@example(["x" * 7 + "\ud83d" + "\ude00" + "x" * 20])
@example({"a": ["\ud83d" * 30, "x" * 30, {"b": "y" * 31}]})
def test_long_texts_are_written_in_parts_and_alike(value: Any) -> None:
    whole = jsontext.dumps(value)
    with mock.patch.object(long_json, "PART", 8), jsontext.long_texts_expected():
        assert jsontext.dumps(value) == whole
    assert not jsontext.long_texts_expected.now
