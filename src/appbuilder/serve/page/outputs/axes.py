"""The axes of an ECharts option, and how values lie on them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from appbuilder.serve.page.outputs.echarts import Option, entries, entry, index, items, number, text, value_of

_PLOTLY_TYPES = {"category": "category", "value": "linear", "time": "date", "log": "log"}
_GRID = "rgba(128, 128, 128, 0.3)"
_SLASHED_DATE = re.compile(r"([0-9]{4})/([0-9]{1,2})/([0-9]{1,2})(.*)", re.DOTALL)
_GAP = 0.12  # of the height between grids, and of the width for each further axis


@dataclass(frozen=True)
class Axis:
    """One axis: ``letter`` x or y, its number among those, its Plotly type, its categories' names."""

    letter: str
    place: int
    kind: str
    categories: tuple[str, ...]
    option: Option

    @property
    def id(self) -> str:
        """What a trace calls it: ``x``, ``y2``..."""
        return self.letter + (str(self.place + 1) if self.place else "")

    @property
    def grid(self) -> int:
        """The number of the grid it belongs to."""
        return index(self.option.get("gridIndex"))

    def put(self, value: Any) -> Any:
        """*value* as this axis takes it: a category's name, a number, a date; None where it has none."""
        if self.kind == "category":
            if type(value) is int and 0 <= value < len(self.categories):
                return self.categories[value]
            return text(value) or None
        if self.kind == "date" and isinstance(value, str):
            found = _SLASHED_DATE.fullmatch(value)
            if found:
                value = f"{found[1]}-{int(found[2]):02}-{int(found[3]):02}{found[4]}"
            return text(value) or None
        return number(value)


def axes(option: Option, letter: str) -> list[Axis]:
    """All axes of one letter; where the option has none, categories along x and values along y."""
    given = entries(option.get(f"{letter}Axis")) or [{"type": "category" if letter == "x" else "value"}]
    return [_axis(letter, place, one) for place, one in enumerate(given)]


def _axis(letter: str, place: int, option: Option) -> Axis:
    names = tuple(text(value_of(item)) for item in items(option.get("data")))
    kind = option.get("type")
    if not isinstance(kind, str) or kind not in _PLOTLY_TYPES:
        kind = "category" if names else "value"
    return Axis(letter, place, _PLOTLY_TYPES[kind], names, option)


def layout(xs: list[Axis], ys: list[Axis]) -> Option:
    """The members of a Plotly layout for these axes; grids lie in rows, the first at the top."""
    grids = max(axis.grid for axis in (*xs, *ys)) + 1 if max(len(xs), len(ys)) > 1 else 1
    grids = min(grids, len(xs) + len(ys))
    result: Option = {}
    for own, others in ((xs, ys), (ys, xs)):
        for axis in own:
            beside = [one for one in own if one.grid == axis.grid]
            across = [one for one in others if one.grid == axis.grid] or others
            key = f"{axis.letter}axis{axis.id[1:]}"
            result[key] = {**_scale(axis), **_position(axis, beside, across[0])}
            if axis.letter == "y":
                result[key].setdefault("domain", _row(axis.grid, grids))
            else:
                right = len([one for one in across if one.grid == axis.grid]) - 2
                result[key].setdefault("domain", [0, max(1 - _GAP * max(right, 0), 0.5)])
    return result


def _row(grid: int, grids: int) -> list[float]:
    height = 1 / grids
    low = max(1 - (min(grid, grids - 1) + 1) * height, 0)
    return [round(low + (_GAP if grids > 1 and low else 0) * height, 4), round(min(low + height, 1), 4)]


def _position(axis: Axis, beside: list[Axis], across: Axis) -> Option:
    rank = beside.index(axis)
    if rank == 0:
        return {"anchor": across.id}
    far = "right" if axis.letter == "y" else "top"
    position: Option = {"overlaying": beside[0].id, "side": far, "showgrid": False}
    if rank == 1 or axis.letter == "x":
        return {**position, "anchor": across.id}
    start = max(1 - _GAP * (len(beside) - 2), 0.5)
    return {**position, "anchor": "free", "position": min(start + _GAP * (rank - 1), 1)}


def _scale(axis: Axis) -> Option:
    option = axis.option
    scale: Option = {"type": axis.kind, "gridcolor": _GRID, "zerolinecolor": _GRID, "automargin": True}
    if name := text(option.get("name")):
        scale["title"] = {"text": name}
    if option.get("show") is False:
        scale["visible"] = False
    if axis.kind == "category" and axis.categories:
        scale |= {"categoryorder": "array", "categoryarray": list(axis.categories)}
    if axis.kind == "linear" and option.get("scale") is not True:
        scale["rangemode"] = "tozero"
    pattern = entry(option.get("axisLabel")).get("formatter")
    if isinstance(pattern, str) and pattern.count("{value}") == 1:
        scale["tickprefix"], scale["ticksuffix"] = map(text, pattern.split("{value}"))
    return scale | _range(axis)


def _range(axis: Axis) -> Option:
    low, high = number(axis.option.get("min")), number(axis.option.get("max"))
    backwards = axis.option.get("inverse") is True
    if axis.kind in {"linear", "log"} and low is not None and high is not None and low < high:
        ends: list[float] = [low, high]
        if axis.kind == "log":
            ends = [math.log10(end) for end in ends] if low > 0 else []
        if ends:
            return {"range": ends[::-1] if backwards else ends}
    scale: Option = {"autorange": "reversed"} if backwards else {}
    if axis.kind == "linear":
        ends_given = {"minallowed": low, "maxallowed": high}
        given = {name: end for name, end in ends_given.items() if end is not None}
        if given and len(given) == 1:
            scale["autorangeoptions"] = given
    return scale
