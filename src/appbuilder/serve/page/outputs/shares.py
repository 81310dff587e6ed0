"""Charts without axes: pie, funnel, gauge, radar, treemap and sunburst."""

from __future__ import annotations

from itertools import count
from typing import Any

from appbuilder.serve.page.outputs.echarts import (
    PALETTE,
    CannotDraw,
    Option,
    colour,
    entries,
    entry,
    fraction,
    items,
    number,
    style_colour,
    table,
    text,
    value_of,
)

Figure = dict[str, Any]


def pies(option: Option, group: list[Option], result: Figure) -> None:
    """Adds a trace for each pie; a ring has a hole, a rose is drawn as a plain pie."""
    for series in group:
        radius = series.get("radius")
        inner, outer = radius[:2] if isinstance(radius, list) and len(radius) > 1 else (0, radius)
        names, values, colours = _shares(option, series)
        trace = {
            "type": "pie", "name": text(series.get("name")), "labels": names, "values": values, "sort": False,
            "direction": "clockwise", "hole": _hole(inner, outer), "textinfo": "label+percent",
            "marker": {"colors": colours},
        }  # fmt: skip
        if len(group) > 1:
            trace["domain"] = _around(series.get("center"), fraction(outer, 0.75))
        result["data"].append(trace)


def _hole(inner: Any, outer: Any) -> float:
    small, large = (fraction(side, 0) or number(side) or 0 for side in (inner, outer))
    return round(small / large, 3) if 0 < small < large else 0.0


def _around(center: Any, size: float) -> Figure:
    x, y = center[:2] if isinstance(center, list) and len(center) > 1 else ("50%", "50%")
    middles = {"x": fraction(x, 0.5), "y": 1 - fraction(y, 0.5)}
    half = max(size / 2, 0.05)
    return {side: [round(max(at - half, 0), 4), round(min(at + half, 1), 4)] for side, at in middles.items()}


def funnels(option: Option, group: list[Option], result: Figure) -> None:
    """Adds a trace for each funnel, the largest share at the top unless the series sorts otherwise."""
    for series in group:
        shares = list(zip(*_shares(option, series), strict=True))
        if series.get("sort") != "none":
            shares.sort(key=lambda share: share[1], reverse=series.get("sort") != "ascending")
        names, values, colours = ([share[part] for share in shares] for part in range(3))
        result["data"].append({
            "type": "funnel", "name": text(series.get("name")), "y": names, "x": values,
            "textinfo": "value+percent initial", "marker": {"color": colours},
        })  # fmt: skip


def _shares(option: Option, series: Option) -> tuple[list[str], list[float], list[str]]:
    palette = [c for c in map(colour, items(option.get("color"))) if c] or PALETTE
    parts: list[tuple[str, Any, Any]] = []
    if isinstance(series.get("data"), list):
        for place, item in enumerate(series["data"]):
            parts.append((text(entry(item).get("name")) or str(place + 1), value_of(item), item))
    else:
        source = table(option, series)
        encode = entry(series.get("encode"))
        name, value = source.column(encode.get("itemName"), 0), source.column(encode.get("value"), 1)
        parts = [(text(source.cell(row, name)), source.cell(row, value), None) for row in source.rows]
    return (
        [name for name, _, _ in parts],
        [max(number(value) or 0, 0) for _, value, _ in parts],
        [style_colour(item) or palette[place % len(palette)] for place, (_, _, item) in enumerate(parts)],
    )


def gauges(option: Option, group: list[Option], result: Figure) -> None:
    """Adds a dial for each gauge, side by side."""
    del option
    for place, series in enumerate(group):
        item = next(iter(items(series.get("data"))), None)
        low, high = number(series.get("min")) or 0, number(series.get("max"))
        high = 100 if high is None else high
        suffix = entry(series.get("detail")).get("formatter")
        bands = items(entry(entry(series.get("axisLine")).get("lineStyle")).get("color"))
        result["data"].append({
            "type": "indicator", "mode": "gauge+number", "value": number(value_of(item)) or 0,
            "title": {"text": text(entry(item).get("name")) or text(series.get("name"))},
            "number": {"suffix": text(suffix).replace("{value}", "")} if isinstance(suffix, str) else {},
            "gauge": {
                "axis": {"range": [low, high]}, "steps": _bands(bands, low, high),
                "bar": {"color": style_colour(item, series) or PALETTE[0]},
            },
            "domain": {"x": [place / len(group), (place + 1) / len(group)], "y": [0, 1]},
        })  # fmt: skip


def _bands(bands: list[Any], low: float, high: float) -> list[Figure]:
    steps, start = [], low
    for band in bands:
        end, shade = band[:2] if isinstance(band, list) and len(band) > 1 else (None, None)
        share = number(end)
        if share is None or colour(shade) is None:
            return []
        stop = low + (high - low) * min(max(share, 0), 1)
        steps.append({"range": [start, stop], "color": colour(shade)})
        start = stop
    return steps


def radars(option: Option, group: list[Option], result: Figure) -> None:
    """Adds a closed line for each item of each radar.

    Where the indicators end at different values, each is drawn as its share of its own end.
    """
    if len(entries(option.get("radar"))) > 1:
        raise CannotDraw("it has several radars")
    spokes = entries(entry(option.get("radar")).get("indicator"))
    if not spokes:
        raise CannotDraw("its radar has no indicator")
    names = [text(spoke.get("name") or spoke.get("text")) for spoke in spokes]
    ends = [number(spoke.get("max")) for spoke in spokes]
    shared = len(set(ends)) == 1
    for series in group:
        for item in items(series.get("data")):
            values = [number(value) for value in items(value_of(item))[: len(names)]]
            lengths = values if shared else _lengths(values, ends)
            result["data"].append(_closed(series, item, names, values, lengths))
    radial: Figure = {"showticklabels": shared, "gridcolor": "rgba(128, 128, 128, 0.3)"}
    end = ends[0] if shared else 1
    radial |= {"range": [0, end]} if end else {"rangemode": "tozero"}
    angular = {"rotation": 90, "direction": "counterclockwise"}
    result["layout"]["polar"] = {
        "bgcolor": "rgba(0, 0, 0, 0)", "radialaxis": radial, "angularaxis": angular,
        "domain": {"x": [0, 1], "y": [0, 0.93]},  # the uppermost name and the legend need room
    }  # fmt: skip


def _lengths(values: list[float | int | None], ends: list[float | int | None]) -> list[float | None]:
    return [
        None if value is None else value / (end if end else abs(value) or 1)
        for value, end in zip(values, ends, strict=False)
    ]


def _closed(series: Option, item: Any, names: list[str], values: list[Any], lengths: list[Any]) -> Figure:
    told = [f"{name}: {value}" for name, value in zip(names, values, strict=False)]
    owner = entry(item)
    trace: Figure = {
        "type": "scatterpolar", "name": text(owner.get("name")) or text(series.get("name")),
        "r": lengths + lengths[:1], "theta": names[: len(lengths)] + names[: len(lengths)][:1],
        "text": told + told[:1], "hoverinfo": "text+name", "mode": "lines+markers",
        "fill": "toself" if "areaStyle" in owner or "areaStyle" in series else "none",
    }  # fmt: skip
    if shade := style_colour(owner, series):
        trace["line"] = {"color": shade}
    return trace


def trees(option: Option, group: list[Option], result: Figure) -> None:
    """Adds a treemap or sunburst for each series, side by side."""
    del option
    for place, series in enumerate(group):
        trace: Figure = {
            "type": series["type"], "name": text(series.get("name")), "branchvalues": "total",
            "ids": [], "labels": [], "parents": [], "values": [],
            "domain": {"x": [place / len(group), (place + 1) / len(group)], "y": [0, 1]},
        }  # fmt: skip
        numbers = count()
        for node in entries(series.get("data")):
            _branch(node, "", trace, numbers)
        result["data"].append(trace)


def _branch(node: Option, parent: str, trace: Figure, numbers: Any) -> float:
    own = str(next(numbers))
    place = len(trace["ids"])
    members = {"ids": own, "labels": text(node.get("name")), "parents": parent, "values": 0}
    for member, value in members.items():
        trace[member].append(value)
    below = sum(_branch(child, own, trace, numbers) for child in entries(node.get("children")))
    size = max(number(value_of(node)) or 0, 0, below)
    trace["values"][place] = size
    return size
