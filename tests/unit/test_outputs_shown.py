"""Each typed output is shown as what it is, and nothing in one can break out of its place."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from appbuilder.core import output as outputs
from appbuilder.core.component import Component
from appbuilder.serve.page.outputs import Block, Element, Progress, Shown, Step, Text, markdown, shown

PNG = b"\x89PNG\r\n\x1a\n" + b"rest"
WAV = b"RIFF\0\0\0\0WAVEfmt "
GFM = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def show(kind: str, text: Any, **members: Any) -> list[Shown]:
    return shown(Component.create_output(kind, text, **members).model_dump())


def links(pieces: list[Shown]) -> list[tuple[str, str]]:
    """(text, address) of every link that the Markdown makes."""
    found = []
    for piece in pieces:
        if isinstance(piece, Element):
            continue
        for block in GFM.parse(piece.markdown):
            children = block.children or []
            for place, token in enumerate(children):
                if token.type == "link_open":
                    end = next(i for i in range(place, len(children)) if children[i].type == "link_close")
                    text = "".join(child.content for child in children[place:end])
                    found.append((text, str(token.attrGet("href"))))
                assert token.type not in {"image", "html_inline"}
    return found


def told(pieces: list[Shown]) -> str:
    """What a reader sees, as HTML."""
    return "".join(GFM.render(piece.markdown) for piece in pieces if not isinstance(piece, Element))


def the_element(pieces: list[Shown]) -> Element:
    (element,) = (piece for piece in pieces if isinstance(piece, Element))
    return element


def test_text_streams_as_it_is() -> None:
    assert show("text", " **你好**\n") == [Text(" **你好**\n")]
    assert show("text", "") == []
    assert shown("plain") == [Text("plain")]


def test_text_for_the_model_folds() -> None:
    assert show("text", "a", visible_scope="llm", name="搜索") == [Step("搜索 → LLM", "a")]
    assert show("text", "a", visible_scope="user") == [Text("a")]


def test_code_with_its_language_and_a_longer_fence() -> None:
    (block,) = show("code", {"code": "a = '```'\n", "language": "Python"})
    assert block == Block("````python\na = '```'\n````")
    assert show("code", "x") == [Block("```\nx\n```")]
    assert show("code", {"code": "x", "language": "py`\n# h"}) == [Block("```\nx\n```")]


def test_json_is_indented_and_not_escaped() -> None:
    assert show("json", '{"区": [1, "海淀"]}') == [
        Block('```json\n{\n  "区": [\n    1,\n    "海淀"\n  ]\n}\n```')
    ]
    assert show("json", "{'no': json}") == [Block("```\n{'no': json}\n```")]
    (call,) = show("function_call", {"thought": "想*一*想", "name": "搜索", "arguments": {"q": "北京"}})
    assert isinstance(call, Block)
    assert call.markdown.startswith("想\\*一\\*想\n\n```json\n")
    assert '"name": "搜索"' in call.markdown


def test_spoken_text_is_marked_and_reasoning_folds() -> None:
    assert show("oral_text", "你好\n再见") == [Block("> 🔊 你好\n> 再见")]
    assert show("reasoning_content", "思考") == [Step("reasoning", "思考")]
    assert show("reasoning_content", "思考", name="想") == [Step("想", "思考")]


def test_an_image_from_its_bytes_whatever_it_says_it_is() -> None:
    pieces = show("image", {"filename": "图.png", "url": "", "base64": b64(PNG)})  # the SDK's default is jpeg
    assert pieces == [Element("image", "图.png", "image/png", f"data:image/png;base64,{b64(PNG)}")]
    assert show("image", {"filename": "图.png", "url": f"data:image/png;base64,{b64(PNG)}"}) == pieces
    prefixed = f"data:image/png;base64,{b64(PNG)}"
    assert show("image", {"filename": "图.png", "url": "", "base64": prefixed}) == pieces


def test_an_image_elsewhere_is_a_link_too() -> None:
    pieces = show("image", {"filename": "a.png", "url": "https://example.com/a.png?x=1&y=2"})
    assert pieces[0] == Element("image", "a.png", "image/png", "https://example.com/a.png?x=1&y=2")
    assert links(pieces) == [("a.png", "https://example.com/a.png?x=1&y=2")]


def test_sound() -> None:
    element = the_element(show("audio", {"filename": "a", "url": "", "base64": b64(WAV)}))
    assert (element.kind, element.mime) == ("audio", "audio/wav")
    element = the_element(
        show("audio", {"filename": "a", "url": "", "base64": b64(b"?"), "mime_type": "mp3"})
    )
    assert element.mime == "audio/mpeg"


def test_files() -> None:
    element = the_element(show("files", {"filename": "报告.pdf", "url": "https://example.com/报告"}))
    assert element == Element("file", "报告.pdf", "application/pdf", "https://example.com/%E6%8A%A5%E5%91%8A")
    element = the_element(show("files", {"filename": "a.csv", "url": "data:text/csv;base64,YSxi"}))
    assert element == Element("file", "a.csv", "text/csv", "data:text/csv;base64,YSxi")
    element = the_element(show("files", {"filename": "", "url": "https://example.com/x/a.zip?k=1"}))
    assert (element.name, element.mime) == ("a.zip", "application/zip")
    assert show("files", {"filename": "a", "url": "", "file_id": "f-1"}) == [Block("a `f-1`")]


def test_urls_are_links() -> None:
    assert links(show("urls", "https://例子.中国/路")) == [
        ("https://例子.中国/路", "https://%E4%BE%8B%E5%AD%90.%E4%B8%AD%E5%9B%BD/%E8%B7%AF")
    ]
    assert links(show("urls", "../a")) == []
    odd = "http://a.cn/?a=1&copy;=2"
    assert links(show("urls", odd)) == [(odd, odd)]


def test_a_chart_is_a_figure_or_says_why_not() -> None:
    option = {
        "title": {"text": "销量"},
        "xAxis": {"data": ["甲"]},
        "yAxis": {},
        "series": [{"type": "bar", "data": [1]}],
    }
    element = the_element(show("chart", {"type": "echarts", "data": json.dumps(option)}))
    assert (element.kind, element.name, element.mime) == ("plotly", "销量", "application/json")
    figure = json.loads(base64.b64decode(element.url.partition(",")[2]))
    assert figure["data"][0]["y"] == [1]
    (block,) = show("chart", {"type": "echarts", "data": '{"series": [{"type": "sankey"}]}'})
    assert isinstance(block, Block)
    assert block.markdown.startswith(
        "This chart is not drawn: there is no way to draw a series of type sankey."
    )
    assert '"type": "sankey"' in block.markdown
    (block,) = show("chart", {"type": "echarts", "data": "option = {}"})
    assert "This chart is no JSON" in told([block])


def test_references_are_numbered_links() -> None:
    pieces = show(
        "references",
        {"id": 3, "title": "年鉴", "url": "https://tj.gov.cn/a", "web_anchor": "统计局", "content": "海淀区"},
    )
    assert links(pieces) == [("年鉴", "https://tj.gov.cn/a")]
    assert re.sub("<.*?>", "", told(pieces)) == "[3] 年鉴 · tj.gov.cn · 统计局\n海淀区\n"
    without = [piece for _ in range(2) for piece in show("references", {"title": "a", "source": "b"})]
    one_message = "\n\n".join(piece.markdown for piece in without if isinstance(piece, Block))
    assert GFM.render(one_message).count("<ol>") == 1
    assert GFM.render(one_message).count("<li>") == 2


def test_a_plan_is_a_numbered_list() -> None:
    tasks = [
        {
            "name": "查",
            "description": "查面积",
            "tool": "search",
            "parameters": {"q": "`海淀`"},
            "status": "done",
        }
    ]
    (block,) = show("plan", {"goal": "比较", "tasks": tasks})
    assert block == Block('**比较**\n\n1. **查** 查面积 `search` ``{"q":"`海淀`"}`` (done)')
    (block,) = show("plan", {"detail": "d", "steps": [{"name": "a", "arguments": {"b": 1}}, {"name": "c"}]})
    assert block == Block('d\n\n1. **a** `{"b":1}`\n2. **c**')


def test_progress_is_a_bar_that_replaces_the_one_before() -> None:
    (bar,) = show("progress", {"progress": 0.5, "step": "查询", "message": "2/4", "next_step_name": "绘图"})
    assert bar == Progress("progress", 0.5, f"`{'█' * 10}{'░' * 10}` 50% · 查询 · 2/4 → 绘图")
    ids = [show("progress", {"progress": value}, name="下载")[0] for value in (-1, 3)]
    assert [(bar.id, bar.fraction) for bar in ids if isinstance(bar, Progress)] == [("下载", 0), ("下载", 1)]


def test_what_a_browser_does() -> None:
    pieces = show(
        "browser",
        {
            "query": "q",
            "result": {"answer": "是"},
            "action": [{"click": 1}],
            "screenshot": {"data": b64(PNG), "browser_url": "https://example.com/"},
        },
    )
    assert links(pieces) == [("https://example.com/", "https://example.com/")]
    assert the_element(pieces).mime == "image/png"


@pytest.mark.parametrize(
    "output",
    [
        {"content": [{"type": "song", "text": {"info": "la"}}]},
        {"content": [{"type": "progress", "text": {"progress": "half"}}]},
        {"content": [{"type": "text", "text": 5}]},
        {"content": [{"type": "plan", "text": {"tasks": [5]}}]},
        {"content": [{"type": ["text"], "text": {}}]},
        {"content": [7]},
        {"status": "done"},
        [1, 2],
        None,
    ],
    ids=repr,
)
def test_what_is_unknown_or_malformed_is_json(output: Any) -> None:
    (block,) = shown(output)
    assert isinstance(block, Block)
    assert block.markdown.startswith("```json\n")


def test_a_content_alone_and_several_in_one_output() -> None:
    assert shown({"type": "text", "text": {"info": "a"}}) == [Text("a")]
    both = {"content": [{"type": "text", "text": {"info": "a"}}, {"type": "code", "text": "b"}]}
    assert shown(both) == [Text("a"), Block("```\nb\n```")]


FORBIDDEN = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    " vbscript:x",
    "file:///etc/passwd",
    "data:text/html,<script>alert(1)</script>",
    f"data:text/html;base64,{b64(b'<script>')}",
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "data:image/svg+xml,<svg><s:script>1</s:script></svg>",
    "data:image/svg+xml,<svg onload='alert(1)'/>",
    "data:image/svg+xml,<svg><a href='java&%23115;cript:x'/></svg>",
    "data:application/xhtml+xml,<html/>",
    "data:text/javascript,alert(1)",
    "blob:https://example.com/1",
    "//example.com/a",
    "http://",
    "http:///a",
    "http://[::1",
    "https:\\\\example.com",
]


@pytest.mark.parametrize("url", FORBIDDEN)
@pytest.mark.parametrize("kind", ["urls", "files", "image", "audio", "references", "browser"])
def test_forbidden_addresses_become_text(kind: str, url: str) -> None:
    text: dict[str, Any] = {"url": url, "filename": "名"}
    if kind == "browser":
        text = {"query": "q", "screenshot": {"browser_url": url, "url": url, "data": url}}
    pieces = show(kind, text)
    assert pieces
    assert not [piece for piece in pieces if isinstance(piece, Element)]
    assert links(pieces) == []
    assert "<script" not in told(pieces)


def test_a_harmless_svg_is_an_image() -> None:
    svg = b'<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x.dtd"><svg><desc/></svg>'
    element = the_element(show("image", {"filename": "a.svg", "url": "", "base64": b64(svg)}))
    assert element.mime == "image/svg+xml"


@pytest.mark.parametrize(
    "title",
    [
        "a](https://evil.example/) [b",
        "<a href='https://evil.example'>x</a>",
        "![x](https://evil.example/x.png)",
        "`a` **b** # c",
        "x\n\n# heading\n\n[a](https://evil.example)",
        "&lt;b&gt;",
        ":alert[x]{a=b}",
        "a|b\n-|-",
        "\\](https://evil.example)",
        "$x$",
        "www.evil.example",
        "1. a",
        "a\u202eb\u200b",
    ],
)
def test_a_title_cannot_forge_anything(title: str) -> None:
    pieces = show(
        "references", {"id": 1, "title": title, "content": title, "source": title, "url": "https://a.cn/x"}
    )
    assert [address for _, address in links(pieces)] == ["https://a.cn/x"]
    seen = " ".join(re.sub(r"[\u202e\u200b]", " ", title).split())
    assert links(pieces)[0][0] == seen
    html = told(pieces)
    assert not re.search("<(h1|em|code|img|table)", html)


def test_the_host_a_link_leads_to_stands_behind_it() -> None:
    html = told(show("references", {"title": "https://bank.cn", "url": "https://bank.cn@evil.example/"}))
    assert "evil.example" in re.sub("<.*?>", "", html)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_odd = 'https://example.com/a b(c)<d>"e`f`[g]|h\\i;j&amp;k'
_addresses = st.text() | st.sampled_from(
    [*FORBIDDEN, _odd, "HTTP://A.b", f"data:image/png;base64,{b64(PNG)}"]
)
_fields = sorted({name for model in outputs.TEXTS.values() for name in model.model_fields})
_texts = st.dictionaries(st.sampled_from(_fields), _json | _addresses, max_size=8)
_contents = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(outputs.TEXTS)), "text": _texts | _addresses | _json},
    optional={"name": _json, "visible_scope": st.sampled_from(["all", "llm"]) | _json},
)
_outputs = st.fixed_dictionaries({"content": st.lists(_contents, max_size=3)}) | _contents | _json
_ALLOWED = re.compile(
    r"https?://[^/?#\s]|data:(image|audio|video)/[a-z0-9.+-]+;base64,|data:application/json;base64,"
    r"|data:(application|text)/(?!html|xhtml|javascript|xml)[a-z0-9.+-]+;base64,",
    re.IGNORECASE,
)


@given(_outputs)
def test_nothing_raises_and_only_allowed_addresses_are_shown(output: Any) -> None:
    pieces = shown(output)
    json.dumps([vars(piece) for piece in pieces], ensure_ascii=False, allow_nan=False).encode()
    for piece in pieces:
        if isinstance(piece, Element):
            assert _ALLOWED.match(piece.url)
    # Text and thoughts are Markdown of the author's own.
    for _, address in links(
        [
            piece
            for piece in pieces
            if isinstance(piece, (Block, Progress)) and not piece.markdown.startswith("> 🔊")
        ]
    ):
        assert re.match("https?://", address, re.IGNORECASE)


_fences = st.text(alphabet="`~ \n\ta>#", max_size=40)


@given(_fences | st.text(), st.sampled_from(["", "python", "c++", "a b", "```"]))
def test_fences_never_break_out(code: str, language: str) -> None:
    code = code.replace("\0", "").replace("\r", "")
    tokens = GFM.parse("before\n\n" + markdown.fenced(code, language) + "\n\nafter")
    assert [token.type for token in tokens if token.level == 0] == [
        "paragraph_open",
        "paragraph_close",
        "fence",
        "paragraph_open",
        "paragraph_close",
    ]
    assert tokens[3].content.rstrip("\n") == code.rstrip("\n")


@given(_fences | st.text())
def test_escaped_text_reads_as_itself(text: str) -> None:
    (inline,) = [token for token in GFM.parse("x" + markdown.escaped(text)) if token.type == "inline"]
    assert {child.type for child in inline.children or []} <= {"text", "text_special"}
    assert "".join(child.content for child in inline.children or []) == "x" + markdown.line(text)


def test_deep_and_wide_values_are_shown() -> None:
    deep: Any = "end"
    for _ in range(5000):
        deep = [deep]
    assert shown({"content": [{"type": "json", "text": deep}]})
    assert shown({"content": [{"type": "json", "text": {"data": "[" * 5000}}]})
    assert shown({"type": "progress", "text": {"progress": 10**5000}})


def test_the_example_has_every_type_and_all_are_shown() -> None:
    path = Path(__file__).resolve().parents[2] / "examples" / "every_output.py"
    spec = importlib.util.spec_from_file_location("every_output", path)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    made = [one.model_dump() for one in example.EveryOutput().tool_eval("哪个大？", session_id="s")]
    assert {content["type"] for one in made for content in one["content"]} == set(outputs.TEXTS)
    pieces = [piece for one in made for piece in shown(json.loads(json.dumps(one)))]
    elements = [(piece.kind, piece.mime) for piece in pieces if isinstance(piece, Element)]
    assert elements == [("plotly", "application/json")] * 2 + [
        ("image", "image/png"),
        ("audio", "audio/wav"),
        ("file", "text/csv"),
    ]
    assert not [piece for piece in pieces if isinstance(piece, Block) and "not drawn" in piece.markdown]
    assert [piece.fraction for piece in pieces if isinstance(piece, Progress)][-1] == 1
