"""Reading an ECharts option, which anybody may have written: whatever a member holds, reading it gives what
was asked for, or a default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

Option = dict[str, Any]

# What ECharts takes where an option names no colours.
PALETTE = ["#5470c6", "#91cc75", "#fac858", "#ee6666", "#73c0de", "#3ba272", "#fc8452", "#9a60b4", "#ea7ccc"]
_COLOUR_NAMES = {
    "aqua", "black", "blue", "brown", "coral", "crimson", "cyan", "darkblue", "darkgreen", "darkred",
    "fuchsia", "gold", "gray", "green", "grey", "indigo", "lightblue", "lightgray", "lightgreen",
    "lightgrey", "lime", "magenta", "maroon", "navy", "olive", "orange", "orangered", "pink", "purple",
    "red", "royalblue", "salmon", "silver", "skyblue", "steelblue", "teal", "tomato", "transparent",
    "turquoise", "violet", "white", "yellow",
}  # fmt: skip
_LARGEST = 1e100  # beyond it, what is worked out from a number may not be finite
_NUMBER = r"\s*(\d{1,3}(?:\.\d+)?)\s*"
_RGB = re.compile(rf"rgba?\({_NUMBER},{_NUMBER},{_NUMBER}(?:,\s*(0|1|0?\.\d+|1\.0+)\s*)?\)")


class CannotDraw(ValueError):
    """There is no figure for this option; the message says why, to go on after "This chart is not drawn:"."""


def number(value: Any) -> float | int | None:
    """*value*, or the number its text is; None for anything else (``"-"`` means missing)."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if abs(value) < _LARGEST else None


def text(value: Any) -> str:
    """*value* as a label. Plotly reads ``<`` in labels as HTML, so it is written as a reference."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    return str(value).replace("<", "&lt;")[:500]


def entry(value: Any) -> Option:
    """*value* if it is an object; of a list its first object; else an empty one."""
    return next(iter(entries(value)), {})


def entries(value: Any) -> list[Option]:
    """The objects in *value*, which may be one or a list of them."""
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]


def items(value: Any) -> list[Any]:
    """*value* if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def value_of(item: Any) -> Any:
    """What a data item stands for: itself, or its ``value``."""
    return item.get("value") if isinstance(item, dict) else item


def index(value: Any) -> int:
    """*value* as a place in a list; 0 if it is not one."""
    return value if isinstance(value, int) and value > 0 else 0


def fraction(value: Any, otherwise: float) -> float:
    """A percentage (``"50%"``) as a fraction from 0 to 1."""
    if isinstance(value, str) and value.endswith("%"):
        share = number(value[:-1])
        if share is not None:
            return min(max(share / 100, 0.0), 1.0)
    return otherwise


def colour(value: Any) -> str | None:
    """*value* as a colour every Plotly takes; the first of a gradient; None if it is not one."""
    if isinstance(value, dict):
        value = entry(value.get("colorStops")).get("color")
    if not isinstance(value, str):
        return None
    value = value.strip().lower()
    if re.fullmatch(r"#([0-9a-f]{3}|[0-9a-f]{6})", value) or value in _COLOUR_NAMES:
        return "rgba(0, 0, 0, 0)" if value == "transparent" else str(value)
    if re.fullmatch(r"#[0-9a-f]{8}", value):
        red, green, blue, alpha = bytes.fromhex(value[1:])
        return f"rgba({red}, {green}, {blue}, {alpha / 255:.2f})"
    found = _RGB.fullmatch(value)
    if found is None or any(float(part) > 255 for part in found.groups()[:3]):
        return None
    return "rgba({}, {}, {}, {})".format(*found.groups()[:3], found[4] or 1)


def style_colour(*owners: Any) -> str | None:
    """The first colour in the ``itemStyle``, ``lineStyle`` or ``color`` of *owners*."""
    for owner in entries(list(owners)):
        for place in (entry(owner.get("itemStyle")), entry(owner.get("lineStyle")), owner):
            found = colour(place.get("color"))
            if found:
                return found
    return None


@dataclass(frozen=True)
class Table:
    """A dataset: a name for each column, and rows of as many cells."""

    names: list[str]
    rows: list[list[Any]]

    def column(self, dimension: Any, otherwise: int) -> int:
        """The place of a dimension, given by its name or number, alone or first of a list."""
        if isinstance(dimension, list):
            dimension = dimension[0] if dimension else None
        if isinstance(dimension, str) and text(dimension) in self.names:
            return self.names.index(text(dimension))
        return dimension if type(dimension) is int and dimension >= 0 else otherwise

    def cell(self, row: list[Any], column: int) -> Any:
        """A cell of *row*, None where it is too short."""
        return row[column] if column < len(row) else None


def table(option: Option, series: Option) -> Table:
    """The dataset a series without data of its own takes them from.

    :raises CannotDraw: it is missing, or it is made by a transform.
    """
    datasets = entries(option.get("dataset"))
    place = index(series.get("datasetIndex"))
    if place >= len(datasets):
        raise CannotDraw("a series has no data")
    dataset = datasets[place]
    if "transform" in dataset:
        raise CannotDraw("its data are made by a transform, which works in ECharts only")
    names = [_dimension(item) for item in items(series.get("dimensions")) or items(dataset.get("dimensions"))]
    source = dataset.get("source")
    if isinstance(source, dict):
        names = names or [text(name) for name in source]
        columns = [items(column) for column in source.values()]
        length = max(map(len, columns), default=0)
        return Table(names, [[c[i] if i < len(c) else None for c in columns] for i in range(length)])
    if entries(source):
        keys = list(dict.fromkeys(key for row in entries(source) for key in row))
        if names:
            keys = [key for name in names for key in keys if text(key) == name] or keys
        return Table([text(key) for key in keys], [[row.get(k) for k in keys] for row in entries(source)])
    rows = [row if isinstance(row, list) else [row] for row in items(source)]
    if series.get("seriesLayoutBy") == "row":
        width = max(map(len, rows), default=0)
        rows = [[row[i] if i < len(row) else None for row in rows] for i in range(width)]
    told = dataset.get("sourceHeader")
    if rows and (told is True or (told is not False and _is_header(rows[0]))):
        names = names or [text(cell) for cell in rows[0]]
        rows = rows[1:]
    return Table(names, rows)


def _dimension(item: Any) -> str:
    return text(item.get("name") if isinstance(item, dict) else item)


def _is_header(row: list[Any]) -> bool:
    cells = [cell for cell in row if cell is not None and cell != "-"]
    return bool(cells) and all(isinstance(cell, str) for cell in cells)
