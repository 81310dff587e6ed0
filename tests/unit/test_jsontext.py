from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appbuilder import jsontext

finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**38), 10**38) | finite | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert jsontext.loads(jsontext.dumps(value)) == value


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


def test_writing_never_fails_on_a_value() -> None:
    odd = {"s": "a\ud800b", "big": 2**80, "nan": float("nan"), 1: "int key", "set": {1},
           "when": datetime(2024, 7, 30), "odd": object, "你": "好"}
    written = jsontext.dumps(odd)
    read = json.loads(written)
    assert read["s"] == "a\ufffdb"
    assert read["big"] == 2**80
    assert read["nan"] is None
    assert read["1"] == "int key"
    assert "你".encode() in written
