"""An ECharts option as a Plotly figure: pure, from plain JSON to plain JSON (``data`` and ``layout``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from appbuilder.serve.page.outputs import cartesian, markdown, shares
from appbuilder.serve.page.outputs.echarts import (
    PALETTE,
    CannotDraw,
    Option,
    colour,
    entries,
    entry,
    items,
    text,
)

__all__ = ["CannotDraw", "figure", "title"]

Figure = dict[str, Any]
_HEIGHT = 400  # pixels, for one grid

_ALONE: dict[str, Callable[[Option, list[Option], Figure], None]] = {
    "pie": shares.pies,
    "funnel": shares.funnels,
    "gauge": shares.gauges,
    "radar": shares.radars,
    "treemap": shares.trees,
    "sunburst": shares.trees,
}


def figure(option: Any) -> Figure:
    """The figure for *option*: ``{"data": [traces], "layout": {...}}``, for Plotly.js 2.30 and newer.

    Line, bar, scatter, candlestick, heatmap, boxplot, pie, funnel, gauge, radar, treemap and sunburst series;
    several axes and grids; data in the series or in a dataset.

    :raises CannotDraw: the option asks for something else; the message says for what.
    """
    option = markdown.plain(option)
    if not isinstance(option, dict):
        raise CannotDraw("an ECharts option is an object")
    drawn = _by_kind(option)
    result: Figure = {"data": [], "layout": _layout(option)}
    on_axes = [one for kind, group in drawn.items() if kind in cartesian.KINDS for one in group]
    if on_axes:
        on_axes.sort(key=entries(option["series"]).index)
        cartesian.draw(option, on_axes, result)
    for kind, group in drawn.items():
        if kind in _ALONE:
            _ALONE[kind](option, group, result)
    _hide_unselected(option, result)
    return result


def title(option: Any) -> str:
    """The option's title on one line, empty if it has none."""
    value = entry(option.get("title")).get("text") if isinstance(option, dict) else None
    return markdown.line(value, 200) if isinstance(value, str) else ""


def _by_kind(option: Option) -> dict[str, list[Option]]:
    if "baseOption" in option or "timeline" in option:
        raise CannotDraw("it has a timeline, which moves in ECharts only")
    drawn: dict[str, list[Option]] = {}
    for series in entries(option.get("series")):
        kind = series.get("type")
        system = series.get("coordinateSystem", "cartesian2d")
        if not isinstance(kind, str) or kind not in {*_ALONE, *cartesian.KINDS}:
            raise CannotDraw(f"there is no way to draw a series of type {text(kind) or 'none'}")
        if kind in cartesian.KINDS and system != "cartesian2d":
            raise CannotDraw(f"there is no way to draw {kind} on {text(system) or 'such'} coordinates")
        drawn.setdefault(kind, []).append(series)
    if not drawn:
        raise CannotDraw("it has no series")
    return drawn


def _layout(option: Option) -> Figure:
    # The page is dark or light: no background of its own, and greys that can be read on both.
    layout: Figure = {
        "paper_bgcolor": colour(option.get("backgroundColor")) or "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "font": {"color": "#888"},
        "colorway": [c for c in map(colour, items(option.get("color"))) if c] or PALETTE,
        "height": _HEIGHT,
        "margin": {"t": 100, "b": 60, "l": 60, "r": 40},
        "showlegend": "legend" in option and entry(option["legend"]).get("show") is not False,
    }
    layout["legend"] = {"traceorder": "normal"}
    if entry(option.get("legend")).get("orient") != "vertical":
        above = {"x": 0.5, "xanchor": "center", "y": 1.02, "yanchor": "bottom"}
        layout["legend"] |= {"orientation": "h", **above}
    heading = entry(option.get("title"))
    lines = [text(heading.get("text")), text(heading.get("subtext"))]
    if any(lines):
        middle = "center" in {str(heading.get("left")), str(heading.get("x"))}
        layout["title"] = {
            "text": lines[0] + (f"<br><sub>{lines[1]}</sub>" if lines[1] else ""),
            "x": 0.5 if middle else 0, "xref": "paper", "xanchor": "center" if middle else "left",
            "y": 1, "yanchor": "top", "pad": {"t": 15},
        }  # fmt: skip
    return layout


def _hide_unselected(option: Option, result: Figure) -> None:
    selected = entry(entry(option.get("legend")).get("selected"))
    hidden = {text(name) for name, shown in selected.items() if shown is False}
    for trace in result["data"]:
        if trace.get("name") in hidden:
            trace["visible"] = "legendonly"
