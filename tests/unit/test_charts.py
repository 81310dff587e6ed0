"""ECharts options become figures that Plotly takes, and that say what the option says."""

from __future__ import annotations

import json
import sys
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appbuilder.serve.page.outputs import charts
from appbuilder.serve.page.outputs.charts import CannotDraw, figure
from appbuilder.serve.page.outputs.echarts import colour

DAYS = ["周一", "周二", "周三"]


def drawn(**option: Any) -> Any:
    """The figure, once the plotly package has checked it."""
    result = figure(option)
    go.Figure(result)
    json.dumps(result, allow_nan=False)
    return result


def category(**members: Any) -> dict[str, Any]:
    return {"type": "category", "data": DAYS, **members}


def on_days(*series: dict[str, Any], **option: Any) -> Any:
    return drawn(xAxis=category(), yAxis={"type": "value"}, series=list(series), **option)


def test_the_plotly_package_is_not_needed() -> None:
    import subprocess

    script = "import sys, appbuilder.serve.page.outputs; print('plotly' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_bar_and_line_with_title_legend_and_colours() -> None:
    result = on_days(
        {"type": "bar", "name": "销量", "data": [5, 20, "-"], "itemStyle": {"color": "#ff0000"}},
        {"type": "line", "name": "增长", "data": [1, {"value": 2}, None], "smooth": True},
        title={"text": "每周", "subtext": "北京", "left": "center"},
        legend={},
        color=["#123456", "rgb(1,2,3)"],
        tooltip={"trigger": "axis"},
    )
    bar, line = result["data"]
    assert (bar["type"], bar["x"], bar["y"], bar["name"]) == ("bar", DAYS, [5, 20, None], "销量")
    assert bar["marker"] == {"color": "#ff0000"}
    assert (line["type"], line["y"], line["line"]["shape"]) == ("scatter", [1, 2, None], "spline")
    layout = result["layout"]
    assert layout["title"]["text"] == "每周<br><sub>北京</sub>"
    assert layout["showlegend"] is True
    assert layout["colorway"] == ["#123456", "rgba(1, 2, 3, 1)"]
    assert layout["hovermode"] == "x unified"
    assert layout["xaxis"]["categoryarray"] == DAYS


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ({"areaStyle": {}}, {"fill": "tozeroy"}),
        ({"stack": "a", "areaStyle": {}}, {"fill": "tonexty", "stackgroup": "a x y"}),
        ({"stack": "a"}, {"fill": "none", "stackgroup": "a x y"}),
        ({"showSymbol": False}, {"mode": "lines"}),
        ({"label": {"show": True}}, {"mode": "lines+markers+text", "text": ["1", "2", "3"]}),
        ({"connectNulls": True}, {"connectgaps": True}),
        ({"step": "end"}, {"line": {"shape": "hv"}}),
        ({"step": True}, {"line": {"shape": "vh"}}),
        ({"step": "start"}, {"line": {"shape": "vh"}}),
        ({"step": "middle"}, {"line": {"shape": "hvh"}}),
        (
            {"lineStyle": {"type": "dashed", "width": 3, "color": "red"}},
            {"line": {"shape": "linear", "color": "red", "width": 3, "dash": "dash"}},
        ),
    ],
)
def test_kinds_of_line(series: dict[str, Any], expected: dict[str, Any]) -> None:
    trace = on_days({"type": "line", "data": [1, 2, 3], **series})["data"][0]
    assert {name: trace[name] for name in expected} == expected


def test_horizontal_bars() -> None:
    result = drawn(xAxis={}, yAxis=category(inverse=True), series=[{"type": "bar", "data": [1, 2, 3]}])
    trace = result["data"][0]
    assert (trace["orientation"], trace["x"], trace["y"]) == ("h", [1, 2, 3], DAYS)
    assert result["layout"]["yaxis"]["autorange"] == "reversed"


def test_stacked_bars_begin_where_the_one_below_ends_and_stacks_stand_side_by_side() -> None:
    result = on_days(
        {"type": "bar", "stack": "甲", "data": [1, 2, -3]},
        {"type": "bar", "stack": "甲", "data": [10, None, -5]},
        {"type": "bar", "stack": "乙", "data": [7, 7, 7]},
        {"type": "bar", "data": [4, 4, 4]},
    )
    first, second, third, alone = result["data"]
    assert first["base"] == [0, 0, 0]
    assert second["base"] == [1, 2, -3]
    assert third["base"] == [0, 0, 0]
    assert "base" not in alone
    assert len({trace["offsetgroup"] for trace in result["data"]}) == 3
    assert second["customdata"] == ["10", "", "-5"]


def test_what_is_below_zero_stacks_downwards() -> None:
    bars = [{"type": "bar", "stack": "a", "data": [size]} for size in (1, -2, 3, -4, 1e308, 1e308)]
    assert [trace["base"] for trace in on_days(*bars)["data"]] == [[0], [0], [1], [-2], [4], [4]]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("#ABC", "#abc"),
        ("rgba(0, 128,255, .5)", "rgba(0, 128, 255, .5)"),
        ("rgb(300,0,0)", None),
        ("#12345", None),
        ("url(x)", None),
        ("reddish", None),
        ({"type": "linear", "colorStops": [{"color": "red"}, {"color": "blue"}]}, "red"),
        ("transparent", "rgba(0, 0, 0, 0)"),
        (5, None),
    ],
)
def test_colours(given: Any, expected: str | None) -> None:
    assert colour(given) == expected
    if expected:
        on_days({"type": "bar", "data": [1], "itemStyle": {"color": given}})


def test_colours_of_single_items() -> None:
    bar = on_days({"type": "bar", "data": [1, {"value": 2, "itemStyle": {"color": "#00ff0080"}}, 3]})["data"][
        0
    ]
    assert bar["marker"]["color"] == ["#5470c6", "rgba(0, 255, 0, 0.50)", "#5470c6"]


def test_several_axes_units_and_ranges() -> None:
    result = drawn(
        xAxis=category(name="日"),
        yAxis=[
            {
                "type": "value",
                "name": "降水量",
                "axisLabel": {"formatter": "{value} ml"},
                "min": 0,
                "max": 250,
            },
            {"type": "value", "name": "温度", "min": 5},
            {"type": "log", "min": 1, "max": 1000},
        ],
        series=[
            {"type": "bar", "data": [1, 2, 3]},
            {"type": "line", "yAxisIndex": 1, "data": [1, 2, 3]},
            {"type": "line", "yAxisIndex": 2, "data": [1, 2, 3]},
        ],
    )
    assert [trace["yaxis"] for trace in result["data"]] == ["y", "y2", "y3"]
    layout = result["layout"]
    assert layout["xaxis"]["title"]["text"] == "日"
    assert (layout["yaxis"]["range"], layout["yaxis"]["ticksuffix"]) == ([0, 250], " ml")
    assert (layout["yaxis2"]["overlaying"], layout["yaxis2"]["side"]) == ("y", "right")
    assert layout["yaxis2"]["autorangeoptions"] == {"minallowed": 5}
    assert (layout["yaxis3"]["anchor"], layout["yaxis3"]["range"]) == ("free", [0, 3])
    assert layout["xaxis"]["domain"] == [0, 0.88]


def test_two_grids_lie_below_each_other() -> None:
    layout = drawn(
        grid=[{}, {}],
        xAxis=[category(), category(gridIndex=1)],
        yAxis=[{}, {"gridIndex": 1}],
        series=[
            {"type": "line", "data": [1]},
            {"type": "bar", "xAxisIndex": 1, "yAxisIndex": 1, "data": [1]},
        ],
    )["layout"]
    assert layout["yaxis"]["domain"][0] > layout["yaxis2"]["domain"][1]
    assert layout["xaxis2"]["anchor"] == "y2"
    assert layout["height"] == 560


def test_time_axes_take_dates_and_milliseconds() -> None:
    result = drawn(
        xAxis={"type": "time"},
        yAxis={},
        series=[{"type": "line", "data": [["2024/1/2 03:04", 1], ["2024-01-03", 2], [1704326400000, 3]]}],
    )
    assert result["data"][0]["x"] == ["2024-01-02 03:04", "2024-01-03", 1704326400000]
    assert result["layout"]["xaxis"]["type"] == "date"


SOURCES = [
    [["product", "2015", "2016"], ["抹茶", 43, 85], ["奶茶", 83, 73]],
    [{"product": "抹茶", "2015": 43, "2016": 85}, {"product": "奶茶", "2015": 83, "2016": 73}],
    {"product": ["抹茶", "奶茶"], "2015": [43, 83], "2016": [85, 73]},
]


@pytest.mark.parametrize("source", SOURCES, ids=["rows", "objects", "columns"])
def test_datasets(source: Any) -> None:
    bars = [{"type": "bar"}, {"type": "bar"}, {"type": "bar", "encode": {"x": "product", "y": "2015"}}]
    result = drawn(dataset={"source": source}, xAxis={"type": "category"}, yAxis={}, series=bars)
    assert [trace["y"] for trace in result["data"]] == [[43, 83], [85, 73], [43, 83]]
    assert [trace["name"] for trace in result["data"]] == ["2015", "2016", "2015"]
    assert result["data"][0]["x"] == ["抹茶", "奶茶"]
    pie = drawn(dataset={"source": source}, series={"type": "pie", "encode": {"value": "2016"}})["data"][0]
    assert (pie["labels"], pie["values"]) == (["抹茶", "奶茶"], [85, 73])


def test_a_dataset_by_rows_and_years_as_categories() -> None:
    result = drawn(
        dataset={"source": [["年", 2015, 2016], ["甲", 1, 2]]},
        xAxis={"type": "category"},
        yAxis={},
        series=[{"type": "bar", "seriesLayoutBy": "row"}],
    )
    assert (result["data"][0]["x"], result["data"][0]["y"]) == (["2015", "2016"], [1, 2])


@pytest.mark.parametrize("radius", [["40%", "0%"], ["70%", "40%"], [5, None], ["x", {}], "50%", [60, 60]])
def test_a_pie_without_a_sensible_hole_has_none(radius: Any) -> None:
    assert drawn(series={"type": "pie", "radius": radius, "data": [1, 2]})["data"][0]["hole"] == 0


def test_pie_ring_and_rose() -> None:
    data = [{"name": "搜索", "value": 1048}, {"name": "直接", "value": 735, "itemStyle": {"color": "red"}}]
    ring = drawn(series=[{"type": "pie", "radius": ["40%", "70%"], "roseType": "area", "data": data}])[
        "data"
    ][0]
    assert (ring["labels"], ring["values"]) == (["搜索", "直接"], [1048, 735])
    assert ring["hole"] == 0.571
    assert ring["marker"]["colors"] == ["#5470c6", "red"]
    two = drawn(
        series=[
            {"type": "pie", "center": ["25%", "50%"], "radius": "40%", "data": data},
            {"type": "pie", "center": ["75%", "50%"], "radius": "40%", "data": data},
        ]
    )
    assert [trace["domain"]["x"] for trace in two["data"]] == [[0.05, 0.45], [0.55, 0.95]]


def test_scatter_and_its_sizes() -> None:
    trace = drawn(
        xAxis={}, yAxis={}, series={"type": "effectScatter", "symbolSize": 20, "data": [[1, 2], [3.5, 4]]}
    )
    assert trace["data"][0]["x"] == [1, 3.5]
    assert trace["data"][0]["marker"]["size"] == 20


def test_radar_with_one_end_and_with_several() -> None:
    def radar(*ends: int) -> Any:
        spokes = [{"name": name, "max": end} for name, end in zip("攻防速", ends, strict=True)]
        data = [{"name": "甲", "value": [5, 10, 20], "areaStyle": {}}]
        return drawn(radar={"indicator": spokes}, series=[{"type": "radar", "data": data}])

    same, different = radar(20, 20, 20), radar(10, 10, 40)
    assert same["data"][0]["r"] == [5, 10, 20, 5]
    assert same["layout"]["polar"]["radialaxis"]["range"] == [0, 20]
    assert different["data"][0]["r"] == [0.5, 1, 0.5, 0.5]
    assert different["data"][0]["text"][1] == "防: 10"
    assert different["data"][0]["fill"] == "toself"


def test_funnel_and_gauge() -> None:
    data = [{"name": "成交", "value": 20}, {"name": "展现", "value": 100}]
    funnel = drawn(series={"type": "funnel", "data": data})["data"][0]
    assert (funnel["y"], funnel["x"]) == (["展现", "成交"], [100, 20])
    gauge = drawn(
        series={
            "type": "gauge",
            "max": 200,
            "detail": {"formatter": "{value}%"},
            "axisLine": {"lineStyle": {"color": [[0.5, "green"], [1, "red"]]}},
            "data": [{"value": 50, "name": "完成"}],
        }
    )["data"][0]
    assert (gauge["value"], gauge["title"]["text"], gauge["number"]["suffix"]) == (50, "完成", "%")
    assert gauge["gauge"]["axis"]["range"] == [0, 200]
    assert gauge["gauge"]["steps"][0] == {"range": [0, 100], "color": "green"}


def test_candlesticks_rise_red() -> None:
    result = on_days({"type": "candlestick", "data": [[20, 34, 10, 38], [40, 35, 30, 50]]})
    assert result["layout"]["xaxis"]["rangeslider"] == {"visible": False}
    trace = result["data"][0]
    assert {name: trace[name][0] for name in ("x", "open", "close", "low", "high")} == {
        "x": "周一",
        "open": 20,
        "close": 34,
        "low": 10,
        "high": 38,
    }
    assert trace["increasing"]["line"]["color"] == "#eb5454"


def test_boxplot_heatmap_treemap() -> None:
    box = on_days({"type": "boxplot", "data": [[1, 2, 3, 4, 5]]})["data"][0]
    assert (box["lowerfence"], box["median"], box["upperfence"]) == ([1], [3], [5])
    heat = drawn(
        xAxis=category(),
        yAxis=category(data=["上午", "下午"]),
        visualMap={"min": 0, "max": 9},
        series={"type": "heatmap", "data": [[0, 0, 1], [2, 1, 5]]},
    )["data"][0]
    assert heat["z"] == [[1, None, None], [None, None, 5]]
    assert (heat["zmin"], heat["zmax"]) == (0, 9)
    tree = drawn(
        series={
            "type": "treemap",
            "data": [{"name": "甲", "children": [{"name": "a", "value": 2}, {"name": "b", "value": 3}]}],
        }
    )["data"][0]
    assert (tree["labels"], tree["values"]) == (["甲", "a", "b"], [5, 2, 3])
    assert tree["parents"] == ["", tree["ids"][0], tree["ids"][0]]


def test_hidden_in_the_legend() -> None:
    result = on_days({"type": "line", "name": "a", "data": [1]}, legend={"selected": {"a": False}})
    assert result["data"][0]["visible"] == "legendonly"


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ([], "an ECharts option is an object"),
        ({}, "it has no series"),
        ({"series": [{"type": "sankey"}]}, "no way to draw a series of type sankey"),
        ({"series": [{}]}, "no way to draw a series of type none"),
        (
            {"series": [{"type": "bar", "coordinateSystem": "polar"}]},
            "no way to draw bar on polar coordinates",
        ),
        ({"baseOption": {}, "options": []}, "it has a timeline"),
        ({"series": {"type": "bar"}}, "a series has no data"),
        ({"series": {"type": "bar", "data": [1], "yAxisIndex": 3}}, "names an axis that is not there"),
        ({"series": {"type": "bar"}, "dataset": {"transform": {}}}, "made by a transform"),
        ({"series": {"type": "radar", "data": []}}, "its radar has no indicator"),
    ],
)
def test_what_cannot_be_drawn_says_why(option: Any, reason: str) -> None:
    with pytest.raises(CannotDraw, match=reason):
        figure(option)


def test_labels_are_text_and_not_html() -> None:
    evil = '<a href="javascript:alert(1)">x</a>'
    result = drawn(
        title={"text": evil, "subtext": evil},
        legend={},
        xAxis=category(name=evil, data=[evil]),
        yAxis={"axisLabel": {"formatter": evil + "{value}"}},
        series=[
            {"type": "bar", "name": evil, "data": [1]},
            {"type": "pie", "name": evil, "data": [{"name": evil, "value": 1}]},
        ],
    )
    assert "<a" not in json.dumps(result)
    assert result["data"][0]["x"] == result["layout"]["xaxis"]["categoryarray"]


def test_title_on_one_line() -> None:
    assert charts.title({"title": [{"text": "一\n二"}]}) == "一 二"
    assert charts.title({"title": 5}) == charts.title(None) == ""


# Options that look like options, with anything in their members.
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 300),
    st.floats(),
    st.integers(),
    st.text(max_size=5),
    st.sampled_from(
        ["-", "50%", "red", "#fff", "a", "time", "category", "value", "log", "start", "2024/1/2"]
    ),
)
_anything = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["value", "name", "color", "itemStyle", "children", "show", "max"]), inner
        )
    ),
    max_leaves=10,
)
_members = dict.fromkeys(
    (
        "name",
        "data",
        "stack",
        "smooth",
        "step",
        "areaStyle",
        "itemStyle",
        "lineStyle",
        "label",
        "xAxisIndex",
        "yAxisIndex",
        "radius",
        "center",
        "encode",
        "datasetIndex",
        "symbolSize",
        "min",
        "max",
        "detail",
        "axisLine",
        "sort",
        "dimensions",
        "seriesLayoutBy",
    ),
    _anything,
)
_rows = st.lists(st.lists(_scalars, max_size=6), max_size=5)
_series = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [
                "line",
                "bar",
                "scatter",
                "pie",
                "radar",
                "funnel",
                "gauge",
                "candlestick",
                "heatmap",
                "boxplot",
                "treemap",
                "sunburst",
            ]
        )
    },
    optional=_members | {"data": _rows | st.lists(_anything, max_size=5)},
)
_axis = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("type", "data", "name", "min", "max", "inverse", "gridIndex", "axisLabel", "scale"), _anything
    ),
)
_options = st.fixed_dictionaries(
    {"series": st.lists(_series, min_size=1, max_size=3)},
    optional={
        "xAxis": _axis | st.lists(_axis, max_size=3),
        "yAxis": _axis | st.lists(_axis, max_size=3),
        "title": _anything,
        "legend": _anything,
        "color": _anything,
        "tooltip": _anything,
        "visualMap": _anything,
        "backgroundColor": _anything,
        "radar": st.fixed_dictionaries({"indicator": _anything}),
        "dataset": st.fixed_dictionaries({"source": _rows | _anything}),
    },
)


@given(_options | _anything)
def test_any_option_is_a_valid_figure_or_cannot_be_drawn(option: Any) -> None:
    try:
        result = figure(option)
    except CannotDraw:
        return
    go.Figure(result)
    json.dumps(result, allow_nan=False)
