"""Playground: templates, arguments, what comes back."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

from appbuilder import Message, Playground
from appbuilder.components.prompt_template import Template
from appbuilder.core.message import AnswerMessage
from appbuilder.errors import InvalidRequest
from appbuilder.testing import ScriptedModel, model_named


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    scripted = ScriptedModel(lambda call: list(call.inputs["query"]))
    with model_named("scripted", scripted):
        yield scripted


def prompt(template: str, content: Any) -> str:
    return str(Playground(template, model="scripted").run(Message(content)).content)


def test_the_signature_is_the_contracts() -> None:
    run = inspect.signature(Playground.run).parameters
    assert {name: p.default for name, p in run.items() if p.default is not p.empty} == {
        "stream": False,
        "temperature": 1e-10,
        "top_p": 0.0,
        "max_output_tokens": 1024,
        "disable_search": True,
        "response_format": "text",
        "stop": [],
    }
    init = list(inspect.signature(Playground).parameters)
    assert init == ["prompt_template", "model", "secret_key", "gateway", "lazy_certification", "kwargs"]
    playground = Playground(model="eb-4")
    assert (playground.name, playground.version, playground.meta.name) == ("playground", "v1", "playground")
    assert (playground.prompt_template, playground.variable_names) == ("{query}", ["query"])
    assert Playground(None, "m").prompt_template == "{query}"


# What the SDK's str.format makes of a template, ours makes too.
@pytest.mark.parametrize(
    ("template", "values"),
    [
        ("你好，{name}，我是{bot}，{bot}是机器人", {"name": "小明", "bot": "小红"}),
        ('JSON: {{"a": {{"b": 1}}}} {query}', {"query": "q"}),
        ("{{query}}", {"query": "q"}),
        ("{query!r}|{query:>4}|{query:{width}}", {"query": "q", "width": 3}),
        ("no hole", {}),
        ("{n}", {"n": 3}),
        ("{query}", {"query": "{other} {{x}} %s"}),
        ("", {}),
        ("请总结：{文本}", {"文本": "海淀"}),
        ("{变量1}、{变量2}", {"变量2": "{变量1}", "变量1": "{变量2}"}),
        ("{user-name} {user name} {été} {हिन्दी} {имя} {😀}",
         {"user-name": 1, "user name": 2, "été": 3, "हिन्दी": 4, "имя": 5, "😀": 6}),
        ("{{文本}}: {文本!s:>4} {文本:4}|", {"文本": "海淀"}),
        ("{user[name]} {list[0]}", {"user": {"name": "n"}, "list": ["a", "b"]}),
    ],
)
def test_like_str_format(model: ScriptedModel, template: str, values: dict[str, Any]) -> None:
    assert prompt(template, values) == template.format(**values)


# Where str.format fails, a brace that is no hole is text.
@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ('{"a": {"b": 1}} {query}', '{"a": {"b": 1}} q'),
        ("{query.__class__} {query}", "{query.__class__} q"),
        ("{query[0]} {query}", "{query[0]} q"),
        ("{0} {} {query}", "{0} {} q"),
        ("{ query } {query}", "{ query } q"),
        ("} {query} {", "} q {"),
        ("{query:{a.b}} {query}", "{query:{a.b}} q"),
        ('{"a": {query}}', '{"a": q}'),
        ("a{color: red} b{margin:0} {query}", "a{color: red} b{margin:0} q"),
        ("f() { return x; } {query}", "f() { return x; } q"),
        ("{user.name} {3,5} {$x} {query}", "{user.name} {3,5} {$x} q"),
    ],
)
def test_other_braces_are_text(model: ScriptedModel, template: str, expected: str) -> None:
    assert prompt(template, "q") == expected


@pytest.mark.parametrize("name", ["0", "user.name", "user[name]", "$x", "1st", " query ", "a/b", "问题？"])
@pytest.mark.parametrize("before", ["", '{"a": 1} '])
def test_any_name_that_is_given_is_filled(model: ScriptedModel, before: str, name: str) -> None:
    hole = f"{{{name}}}"
    filled = prompt(f"{before}{hole} {{query}}", {name: "{query}", "query": hole})
    assert filled == f"{before}{{query}} {hole}"


def test_a_text_fills_the_only_variable(model: ScriptedModel) -> None:
    for name in ("文本", "user-name", "user name", "変数1"):
        assert prompt(f"<{{{name}}}>", "x") == "<x>"


def test_no_template_reads_attributes() -> None:
    class Leaky:
        secret = "s3cret"

        def __str__(self) -> str:
            return "plain"

    for template in ("{v.secret}", "{v!s:{v.secret}}", "{v[secret]}", "{v:{v.secret}}{v}"):
        try:
            text = Template(template).fill({"v": Leaky()})
        except InvalidRequest as error:
            text = str(error)
        assert "s3cret" not in text


def test_variables(model: ScriptedModel) -> None:
    assert prompt("{q} {q}", "x") == "x x"
    assert prompt("{a} {b}", {"a": 1, "b": [2], "c": 3}) == "1 [2]"
    assert prompt("text", "ignored") == "text"
    assert prompt("text", None) == "text"


@pytest.mark.parametrize(
    ("template", "content", "name"),
    [
        ("{a} {b}", {"a": "private"}, "b"),
        ("{a} {b}", "private", "a"),
        ("{query}", ["private"], "query"),
        ("{query}", None, "query"),
        ("{query}", {}, "query"),
        ('{"x": 1} {query}', {"other": "private"}, "query"),
        ("{文本}", {"text": "private"}, "文本"),
        ("{文本} {query}", "private", "文本"),
        ("{user-name}", {"user": "private"}, "user-name"),
        ('{"x": {user-name}}', {"user": "private"}, "user-name"),
        ("{user name}", {}, "user name"),
        ("{name:>8}", {}, "name"),
        ("{a[b][1]}", {"a": {"b": ["private"]}}, re.escape("a[b][1]")),
    ],
)
def test_a_missing_variable_is_named(model: ScriptedModel, template: str, content: Any, name: str) -> None:
    with pytest.raises(ValueError, match=rf"variable {name}:") as caught:
        prompt(template, content)
    assert isinstance(caught.value, InvalidRequest)
    assert "private" not in str(caught.value)
    assert model.calls == []


def test_a_value_that_does_not_fit_its_format(model: ScriptedModel) -> None:
    with pytest.raises(InvalidRequest):
        prompt("{n:d}", {"n": "text"})


def test_the_message_is_left_as_it_is(model: ScriptedModel) -> None:
    message = Message({"query": "你好"})
    before = copy.deepcopy(message)
    Playground(model="scripted").run(message)
    assert message == before


def test_a_whole_answer(model: ScriptedModel) -> None:
    answer = Playground(model="scripted")(Message("你好"))
    assert isinstance(answer, AnswerMessage)
    assert (answer.content, answer.mtype, answer.name, answer.extra) == ("你好", "str", "msg", {})
    assert answer.token_usage == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def test_a_streamed_answer_becomes_whole(model: ScriptedModel) -> None:
    answer = Playground(model="scripted").run(Message("你好"), stream=True)
    assert answer.token_usage == {}
    assert list(answer.content or ()) == ["你", "好"]
    assert answer.content == "你好"
    assert answer.token_usage["total_tokens"] == 3


def test_closing_a_streamed_answer_closes_the_models(model: ScriptedModel) -> None:
    answer = Playground(model="scripted").run(Message("你好"), stream=True)
    content = answer.content
    assert content is not None
    next(content)
    content.close()
    assert model.closes == 1
    assert answer.content == "你"
    # Also before its first piece.
    unread = Playground(model="scripted").run(Message("你好"), stream=True).content
    assert unread is not None
    unread.close()
    assert model.closes == 2


def test_each_answer_has_an_id_of_its_own(model: ScriptedModel) -> None:
    playground = Playground(model="scripted")
    ids = {playground.run(Message("你好")).id for _ in range(3)}
    assert len(ids) == 3
    assert None not in ids


@pytest.mark.parametrize(
    "argument",
    [
        {"temperature": "hot"},
        {"temperature": True},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 2},
        {"top_p": None},
        {"max_output_tokens": 0},
        {"max_output_tokens": 1.5},
        {"max_output_tokens": "9"},
        {"disable_search": "yes"},
        {"response_format": {"type": "text"}},
        {"stop": "text"},
        {"stop": ["1", "2", "3", "4", "5"]},
        {"stop": [1]},
        {"timeout": "soon"},
        {"timeout": 0},
        {"timeout": [1]},
    ],
)
def test_a_wrong_argument_is_named(model: ScriptedModel, argument: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(argument))):
        Playground(model="scripted").run(Message("你好"), **argument)
    assert model.calls == []


def test_arguments_reach_the_call(model: ScriptedModel) -> None:
    Playground(model="scripted", gateway="http://g").run(
        Message("你好"), False, 0.5, 0.25, 10, False, "json_object", ["x"], request_id="r", timeout=3, top_k=4
    )
    call = model.calls[0]
    wanted = call.parameters
    assert (wanted.temperature, wanted.top_p, wanted.max_output_tokens) == (0.5, 0.25, 10)
    assert (wanted.disable_search, wanted.response_format, wanted.stop) == (False, "json_object", ("x",))
    assert wanted.further == {"top_k": 4}
    assert (call.service, call.request_id, call.timeout, call.gateway) == ("playground", "r", 3, "http://g")
    assert call.messages == [{"role": "user", "content": "你好"}]
