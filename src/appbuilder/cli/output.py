"""Output of the verbs: tables, or JSON. No colour if it is not a terminal or if NO_COLOR is set."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from unicodedata import category

from appbuilder import jsontext

_UNLIMITED = 10_000
"""Width if the output is not a terminal: nothing is cut."""


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints rows under these columns; None is an empty cell."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else _UNLIMITED)
    # No frame: the output is also read by awk.
    drawn = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*(Text(plain(each)) for each in row))
    console.print(drawn)


def as_json(value: Any) -> None:
    """Prints a value as one line of JSON."""
    sys.stdout.buffer.write(jsontext.dumps(value) + b"\n")
    sys.stdout.buffer.flush()


def plain(value: Any) -> str:
    """A cell's text."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return "" if value is None else shown(str(value)).replace("\n", " ")


def shown(text: str) -> str:
    """*text* without control characters: answers are untrusted input for the terminal."""
    return "".join(each for each in text if each in "\n\t" or category(each) not in ("Cc", "Cs"))
