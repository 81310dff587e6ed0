"""Series on x and y axes: line, bar, scatter, candlestick, heatmap and boxplot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from appbuilder.serve.page.outputs import axes
from appbuilder.serve.page.outputs.axes import Axis
from appbuilder.serve.page.outputs.echarts import (
    PALETTE,
    CannotDraw,
    Option,
    colour,
    entry,
    index,
    items,
    number,
    style_colour,
    table,
    text,
    value_of,
)

Figure = dict[str, Any]

# ECharts turns at the point itself, half way, or at the next one.
_STEPS = {"start": "vh", "middle": "hvh", "end": "hv"}
_DASHES = {"dashed": "dash", "dotted": "dot"}
_ROW_HEIGHT = 160  # pixels, for each grid after the first


@dataclass(frozen=True)
class Point:
    """One data item: where it lies, its further numbers (prices, quartiles), and the item itself."""

    x: Any
    y: Any
    more: list[Any]
    item: Any


@dataclass(frozen=True)
class Drawn:
    """A series with its axes and points."""

    series: Option
    kind: str
    x: Axis
    y: Axis
    points: list[Point]
    name: str

    @property
    def sideways(self) -> bool:
        """Whether its categories lie along y."""
        return self.y.kind == "category" and self.x.kind != "category"

    def trace(self, kind: str, **members: Any) -> Figure:
        """A Plotly trace with what all of them have."""
        return {"type": kind, "name": self.name, "xaxis": self.x.id, "yaxis": self.y.id, **members}

    def along(self) -> Figure:
        """The points' places on both axes."""
        return {"x": [point.x for point in self.points], "y": [point.y for point in self.points]}


def draw(option: Option, group: list[Option], result: Figure) -> None:
    """Adds the traces of all series on axes to *result*, in their order, and the axes to its layout."""
    xs, ys = axes.axes(option, "x"), axes.axes(option, "y")
    used: dict[Any, int] = {}
    drawn: list[Drawn] = []
    for series in group:
        place = index(series.get("datasetIndex"))
        drawn.append(_read(option, series, (xs, ys), used.get(place, 0), len(drawn)))
        if not isinstance(series.get("data"), list):
            used[place] = used.get(place, 0) + 1
    for one in drawn:
        result["data"].append(_TRACES[one.kind](one, option))
    _stack_bars([one for one in drawn if one.kind == "bar"], result)
    result["layout"] |= axes.layout(xs, ys)
    result["layout"]["height"] += _ROW_HEIGHT * (len({axis.grid for axis in ys}) - 1)
    if any(one.kind == "candlestick" for one in drawn):
        for axis in xs:
            result["layout"][f"xaxis{axis.id[1:]}"]["rangeslider"] = {"visible": False}
    result["layout"]["hovermode"] = "closest"
    if entry(option.get("tooltip")).get("trigger") == "axis":
        result["layout"]["hovermode"] = "y unified" if drawn[0].sideways else "x unified"


def _read(option: Option, series: Option, both: tuple[list[Axis], list[Axis]], nth: int, place: int) -> Drawn:
    xs, ys = both
    x, y = index(series.get("xAxisIndex")), index(series.get("yAxisIndex"))
    if x >= len(xs) or y >= len(ys):
        raise CannotDraw("a series names an axis that is not there")
    kind = KINDS[series["type"]]
    one = Drawn(series, kind, xs[x], ys[y], [], text(series.get("name")) or f"{place + 1}")
    if isinstance(series.get("data"), list):
        one.points.extend(_own_points(one))
        return one
    name = _table_points(option, one, nth)
    return Drawn(series, kind, one.x, one.y, one.points, text(series.get("name")) or name or one.name)


def _own_points(one: Drawn) -> Iterator[Point]:
    for place, item in enumerate(items(one.series.get("data"))):
        value = value_of(item)
        if one.kind in _WIDTHS:
            numbers = items(value)
            at = numbers[0] if len(numbers) > _WIDTHS[one.kind] else place
            more = numbers[-_WIDTHS[one.kind] :]
            x, y = (None, at) if one.sideways else (at, None)
        elif isinstance(value, list):
            x, y, *more = (*value, None, None)
        else:
            x, y, more = (value, place, []) if one.sideways else (place, value, [])
        yield Point(one.x.put(x), one.y.put(y), more, item)


def _table_points(option: Option, one: Drawn, nth: int) -> str:
    """Fills the points from a dataset; returns the name of the column its values stand in."""
    source = table(option, one.series)
    encode = entry(one.series.get("encode"))
    both_values = one.kind in {"scatter", "heatmap"}
    default_x, default_y = (0, 1) if both_values else (nth + 1, 0) if one.sideways else (0, nth + 1)
    x, y = source.column(encode.get("x"), default_x), source.column(encode.get("y"), default_y)
    width = _WIDTHS.get(one.kind, 0)
    first = 2 if both_values else 1
    listed = encode.get("x" if one.sideways else "y")
    columns = [source.column(name, 0) for name in items(listed)] if width else []
    columns = columns or list(range(first, first + max(width, 1)))
    for row in source.rows:
        more = [source.cell(row, column) for column in columns]
        one.points.append(Point(one.x.put(source.cell(row, x)), one.y.put(source.cell(row, y)), more, None))
    value = x if one.sideways else y
    return source.names[value] if value < len(source.names) else ""


def _line(one: Drawn, _: Option) -> Figure:
    series = one.series
    hidden = series.get("showSymbol") is False or series.get("symbol") == "none"
    mode = "lines" if hidden else "lines+markers"
    style = entry(series.get("lineStyle"))
    line: Figure = {"shape": "spline" if series.get("smooth") else "linear"}
    if series.get("step"):
        line["shape"] = _STEPS.get(str(series["step"]), "vh")
    if shade := style_colour(series):
        line["color"] = shade
    if width := number(style.get("width")):
        line["width"] = min(max(width, 0), 20)
    if dash := _DASHES.get(str(style.get("type"))):
        line["dash"] = dash
    members: Figure = {"line": line, "connectgaps": series.get("connectNulls") is True}
    filled = "areaStyle" in series
    if stack := text(series.get("stack")):
        members["stackgroup"] = f"{stack} {one.x.id} {one.y.id}"
        members["orientation"] = "h" if one.sideways else "v"
        members["fill"] = ("tonextx" if one.sideways else "tonexty") if filled else "none"
    elif filled:
        members["fill"] = "tozerox" if one.sideways else "tozeroy"
    if _labelled(one):
        mode, members["text"], members["textposition"] = f"{mode}+text", _values(one), "top center"
    return one.trace("scatter", mode=mode, **one.along(), **members)


def _bar(one: Drawn, _: Option) -> Figure:
    members: Figure = {"orientation": "h" if one.sideways else "v", "marker": _marker(one)}
    if _labelled(one):
        members |= {"text": _values(one), "textposition": "auto"}
    return one.trace("bar", **one.along(), **members)


def _scatter(one: Drawn, _: Option) -> Figure:
    marker = _marker(one)
    size = number(one.series.get("symbolSize"))
    marker["size"] = min(max(size, 1), 100) if size is not None else 10
    members: Figure = {"mode": "markers", "marker": marker}
    if _labelled(one):
        members |= {"mode": "markers+text", "text": _values(one), "textposition": "top center"}
    return one.trace("scatter", **one.along(), **members)


def _candlestick(one: Drawn, _: Option) -> Figure:
    style = entry(one.series.get("itemStyle"))
    # ECharts' own: red rises, green falls, as on Chinese exchanges.
    rising, falling = colour(style.get("color")) or "#eb5454", colour(style.get("color0")) or "#47b262"
    return one.trace(
        "candlestick", x=[point.x for point in one.points], **_columns(one, "open", "close", "low", "high"),
        increasing={"line": {"color": rising}}, decreasing={"line": {"color": falling}},
    )  # fmt: skip


def _boxplot(one: Drawn, _: Option) -> Figure:
    base = "y" if one.sideways else "x"
    return one.trace(
        "box", **{base: one.along()[base]}, orientation="h" if one.sideways else "v",
        **_columns(one, "lowerfence", "q1", "median", "q3", "upperfence"),
    )  # fmt: skip


def _columns(one: Drawn, *names: str) -> Figure:
    rows = [[number(value) for value in (*point.more, *[None] * len(names))] for point in one.points]
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _heatmap(one: Drawn, option: Option) -> Figure:
    xs = list(one.x.categories) or list(dict.fromkeys(point.x for point in one.points))
    ys = list(one.y.categories) or list(dict.fromkeys(point.y for point in one.points))
    cells = {(point.x, point.y): number(next(iter(point.more), None)) for point in one.points}
    members: Figure = {"x": xs, "y": ys, "z": [[cells.get((x, y)) for x in xs] for y in ys]}
    scale = entry(option.get("visualMap"))
    colours = [c for c in map(colour, items(entry(scale.get("inRange")).get("color"))) if c] or [
        "#f6efa6", "#d88273", "#bf444c"]  # fmt: skip
    colours = colours if len(colours) > 1 else colours * 2
    members["colorscale"] = [[place / (len(colours) - 1), shade] for place, shade in enumerate(colours)]
    low, high = number(scale.get("min")), number(scale.get("max"))
    if low is not None and high is not None:
        members |= {"zmin": low, "zmax": high}
    if _labelled(one):
        members["texttemplate"] = "%{z}"
    return one.trace("heatmap", **members)


def _stack_bars(bars: list[Drawn], result: Figure) -> None:
    """Bars of one stack lie on each other, the stacks side by side.

    Plotly.js before 2.33 has either stacks or bars side by side; both come from bars that begin where the
    one below them ends.
    """
    traces = iter([trace for trace in result["data"] if trace["type"] == "bar"])
    ends: dict[Any, float] = {}
    result["layout"]["barmode"] = "group"
    for place, (one, trace) in enumerate(zip(bars, traces, strict=True)):
        stack = text(one.series.get("stack"))
        trace |= {"offsetgroup": f"stack {stack}" if stack else f"{place}", "alignmentgroup": "bars"}
        if stack:
            trace["base"] = [_begin(ends, (stack, one.x.id, one.y.id), point, one) for point in one.points]
            # Where a bar begins is no part of what it says.
            trace["hovertemplate"] = "%{customdata}<extra>%{fullData.name}</extra>"
            trace["customdata"] = _values(one)


def _begin(ends: dict[Any, float], stack: Any, point: Point, one: Drawn) -> float:
    at, size = (point.y, point.x) if one.sideways else (point.x, point.y)
    size = number(size) or 0
    key = (stack, at, size < 0)
    start = ends.get(key, 0)
    ends[key] = start + size
    return start


def _marker(one: Drawn) -> Figure:
    shade = style_colour(one.series)
    own = [style_colour(point.item) for point in one.points]
    if any(own):
        plain = shade or PALETTE[0]
        return {"color": [each or plain for each in own]}
    return {"color": shade} if shade else {}


def _labelled(one: Drawn) -> bool:
    return entry(one.series.get("label")).get("show") is True


def _values(one: Drawn) -> list[str]:
    values = [point.x if one.sideways else point.y for point in one.points]
    return [text(value) for value in values]


# What each type of ECharts is drawn as, and how many numbers an item of those with several has.
KINDS = {
    "line": "line", "bar": "bar", "pictorialBar": "bar", "scatter": "scatter", "effectScatter": "scatter",
    "candlestick": "candlestick", "k": "candlestick", "boxplot": "boxplot", "heatmap": "heatmap",
}  # fmt: skip
_WIDTHS = {"candlestick": 4, "boxplot": 5}
_TRACES = {
    "line": _line, "bar": _bar, "scatter": _scatter, "candlestick": _candlestick, "boxplot": _boxplot,
    "heatmap": _heatmap,
}  # fmt: skip
