r"""``\(a\)`` becomes ``$a$`` on the page, in whatever pieces it comes, and never in code."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appbuilder.serve.page.mathematics import Mathematics


def shown(*pieces: str) -> str:
    passing = Mathematics()
    return "".join(map(passing.feed, pieces)) + passing.end()


@pytest.mark.parametrize(
    ("text", "as_shown"),
    [
        (r"So \(a^2\) is", "So $a^2$ is"),
        (r"\[ b^2 \]", "$$ b^2 $$"),
        (r"`\(a\)` and \(b\)", r"`\(a\)` and $b$"),
        ("```py\nre.compile(r'\\(')\n```\n\\(c\\)", "```py\nre.compile(r'\\(')\n```\n$c$"),
        (r"a\\(b)", r"a\\(b)"),  # an escaped backslash, and a bracket
        ("ends in \\", "ends in \\"),
        (r"\{x\} \* $5", r"\{x\} \* $5"),
    ],
)
def test_by_hand(text: str, as_shown: str) -> None:
    assert shown(text) == as_shown


@example(["\\", "`", "\\", "("])
@given(st.lists(st.sampled_from(["\\", "(", ")", "[", "]", "`", "``", "```", "a", "\n", "$"]), max_size=12))
def test_the_pieces_do_not_matter(pieces: list[str]) -> None:
    assert shown(*pieces) == shown("".join(pieces))


def test_what_can_be_shown_is_shown_at_once() -> None:
    passing = Mathematics()
    assert passing.feed("plain text, ") == "plain text, "
    assert passing.feed("and a \\") == "and a "
    assert passing.feed("(x") == "$x"
