"""The decoder of server-sent events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appbuilder.models import sse_decoder
from appbuilder.models.sse_decoder import EventTooLong, SseDecoder


def decode(*chunks: bytes) -> list[bytes]:
    decoder = SseDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.end()


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"", []),
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [b"a", b"b", b"c"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\n\n", [b""]),
        (b": comment\n\nid: 1\nevent: x\nretry: 3\n\ndata: a\nid: 2\n\n", [b"a"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data: a", [b"a"]),
        (b"data: a\n", [b"a"]),
        ("data: 你\u2028好\x85\n\n".encode(), ["你\u2028好\x85".encode()]),
        (b"database: a\n\n", []),
    ],
)
def test_events(text: bytes, events: list[bytes]) -> None:
    assert decode(text) == events
    assert decode(*(text[i : i + 1] for i in range(len(text)))) == events


@given(st.binary(max_size=60).map(lambda b: b.replace(b"x", b"data: ").replace(b"y", b"\r\n")), st.data())
def test_where_it_is_cut_does_not_matter(text: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    chunks = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert decode(*chunks) == decode(text)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), max_size=5))
def test_what_was_encoded_comes_back(texts: list[str]) -> None:
    assert decode("".join(f"data: {text}\n\n" for text in texts).encode()) == [t.encode() for t in texts]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_an_endless_event_is_not_buffered(monkeypatch: pytest.MonkeyPatch, end: bytes) -> None:
    monkeypatch.setattr(sse_decoder, "MAX_EVENT", 1000)
    decoder = SseDecoder()
    with pytest.raises(EventTooLong):
        for _ in range(200):
            decoder.feed(b"data: 12345678" + end)
