"""Docs, errors, docstrings and comments are plain technical English, without the words of `OLD_STYLE`.

Names on the wire stay (the metric label `door`, the owner `nobody`): see `WIRE_NAMES`.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src" / "appbuilder"
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *SOURCE.rglob("*.txt"), ROOT / "Makefile"])
OLD_STYLE = re.compile(
    r"\b(?:told|nobody|somebody|anew|afresh|thereby|naught|whither|lest|doors?|the seeds?"
    r"|of (?:ours|theirs|hers|its own accord)|(?:is|are|was|were) (?-i:none)(?! of\b)|one's own|of one's"
    r"|who may come in|let in(?!to)|let into|come in(?!to)"
    r"|he|his|him|himself|beside|whose they are|is known by)\b",
    re.IGNORECASE,
)
WIRE_NAMES = re.compile(r"""[`"](?:appbuilder\.)?(?:door|nobody)[`"]|^(?:appbuilder\.)?(?:door|nobody)$""")

# Occurrences in the strings, docstrings and comments of each part of the source. A count may only go down.
LEFT = {
    "components": 5,
    "log_format.py": 1,
    "models": 1,
    "protocols": 2,
    "runtime": 2,
    "serve": 25,
    "store": 2,
    "telemetry.py": 1,
    "tracing.py": 1,
}


def old_words(text: str) -> list[str]:
    return [match.group().lower() for match in OLD_STYLE.finditer(WIRE_NAMES.sub("", text))]


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Every string literal, docstring and comment, with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def in_source(part: str) -> list[str]:
    """``file:line word`` of every old word in a package or module of the source."""
    path = SOURCE / part
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [
        f"{file.relative_to(SOURCE)}:{line} {word}"
        for file in files
        for line, text in prose(file.read_text())
        for word in old_words(text)
    ]


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_docs_use_none_of_the_old_words(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert [f"{n}: {word}" for n, line in enumerate(lines, 1) for word in old_words(line)] == []


@pytest.mark.parametrize(
    "part", sorted(path.name for path in SOURCE.iterdir() if not path.name.startswith("_"))
)
def test_the_source_uses_fewer_of_the_old_words(part: str) -> None:
    found = in_source(part)
    assert len(found) <= LEFT.get(part, 0), "\n".join(found)
