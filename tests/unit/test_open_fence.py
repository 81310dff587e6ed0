"""Whether a text ends inside a fenced block: as CommonMark reads it, and what the page makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tests.unit.logs import events_of

from appbuilder.core.component import Component
from appbuilder.serve.page.composer import Changed, Composer
from appbuilder.serve.page.outputs.markdown import has_open_fence

COMMONMARK = MarkdownIt("commonmark")
MARK = "a line that follows"


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        ("plain", False),
        ("```python\nprint(1)", True),
        ("```python\nprint(1)\n```", False),
        ("````\n```", True),
        ("~~~\n```", True),
        ("```a`b\ntext", False),  # backticks in what would be the language: no fence
        ("    ```\n", False),  # indented by four: a code block of its own
    ],
)
def test_by_hand(text: str, is_open: bool) -> None:
    assert has_open_fence(text) is is_open


@given(st.lists(st.sampled_from(["```", "~~~", "````", "```py", "text", "", " ```", "```x`"]), max_size=8))
def test_as_commonmark_reads_it(lines: list[str]) -> None:
    text = "\n".join(lines)
    swallowed = any(
        token.type == "fence" and MARK in token.content for token in COMMONMARK.parse(f"{text}\n{MARK}")
    )
    assert has_open_fence(text) is swallowed


def test_a_block_after_an_open_fence_is_a_part_of_its_own() -> None:
    composer = Composer()
    composer.feed(events_of(["```python\nprint(1)"]))
    block = Component.create_output("code", {"code": "print(2)", "language": "python"}).model_dump()
    changes = composer.feed(events_of([block]))
    first, second = composer.parts
    assert not first.grows
    assert Changed(first) in changes
    assert "print(2)" in second.markdown
    assert "print(2)" not in first.markdown
