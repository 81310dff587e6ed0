"""Typed outputs: the calls the SDK takes, the JSON it makes of them, and what wrong input gets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from appbuilder.core import component, output
from appbuilder.core.component import Component, ComponentOutput, Content, Image, Message, Text

# Recorded from AppBuilder SDK 1.1.5: a call of create_output, and the JSON of what came, or the error's name.
RECORDED = json.loads((Path(__file__).parent / "data" / "outputs.json").read_text())


@pytest.mark.parametrize("record", RECORDED, ids=lambda r: f"{r['call']['type']}-{r.get('refused', 'json')}")
def test_calls_give_what_the_sdk_gives(record: dict[str, Any]) -> None:
    call = record["call"]
    if "refused" in record:
        with pytest.raises(ValueError) as caught:
            Component.create_output(**call)
        assert caught.type is ValueError
        assert "\n" not in str(caught.value)
        assert "pydantic" not in str(caught.value)
        return
    made = Component.create_output(**call)
    assert made.model_dump() == record["json"]
    # The order of members too: programs compare dumps as text.
    assert json.dumps(json.loads(made.model_dump_json())) == json.dumps(record["json"])


def test_every_type_is_in_the_record() -> None:
    assert {record["call"]["type"] for record in RECORDED if "json" in record} == set(output.TEXTS)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ({"type": "txt", "text": "a"}, "type must be one of: text, code"),
        ({"type": "files", "text": {"filename": "a"}}, "type='files': text lacks url"),
        ({"type": "progress", "text": "0.5"}, "give text as a dict with progress, step"),
        ({"type": "text", "text": 5}, "text must be a str or a dict, not int"),
        ({"type": "text", "text": "a", "role": "user"}, "role must be 'tool' or 'assistant', not 'user'"),
        ({"type": "chart", "text": {"type": "line", "data": {}}}, "data: Input should be a valid string"),
    ],
)
def test_wrong_input_is_told_clearly(call: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Component.create_output(**call)


def test_what_goes_wrong_is_told_without_the_value() -> None:
    with pytest.raises(ValueError) as caught:
        Component.create_output("progress", {"progress": "geheim"})
    assert "geheim" not in str(caught.value)


def test_arguments_by_position_and_none_for_nothing() -> None:
    made = Component.create_output("text", "a", "assistant", "stage", "user", {"a": 1}, None, None)
    assert made.role == "assistant"
    content = made.content[0]
    assert (content.name, content.visible_scope, content.raw_data) == ("stage", "user", {"a": 1})
    assert (content.usage, content.metrics) == ({}, {})


def test_outputs_do_not_share_their_defaults() -> None:
    one, two = (Component.create_output("plan", {}) for _ in range(2))
    one.content[0].raw_data["a"] = 1
    one.content.append(Content())
    one.content[0].text.tasks.append(output.Task())  # type: ignore[union-attr]
    assert two == Component.create_output("plan", {})


def test_models_made_by_hand() -> None:
    contents = [Content(type="text", text=Text(info="a")), Content(), Content(type="plan")]
    made = ComponentOutput(content=contents)
    assert [type(content.text).__name__ for content in made.content] == ["Text", "Text", "Plan"]
    assert ComponentOutput.model_validate(made.model_dump()) == made
    with pytest.raises(ValidationError, match="type must be one of"):
        Content.model_validate({"type": "song", "text": {}})
    with pytest.raises(ValidationError, match="type must be one of"):
        Content.model_validate({"type": 5, "text": {}})
    with pytest.raises(ValidationError):
        Content.model_validate({"type": "text", "text": Image()})


def test_the_names_programs_import_from_component() -> None:
    models = {
        name for name, value in vars(output).items()
        if isinstance(value, type) and issubclass(value, BaseModel) and value is not BaseModel
    }
    assert len(models) == 21
    assert models < set(component.__all__)
    for name in models:
        assert getattr(component, name) is getattr(output, name)
    assert component.Message is Message
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = component.Nothing


def test_importing_component_builds_no_output_model() -> None:
    script = "import sys, appbuilder.core.component; print('appbuilder.core.output' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


class Tool(Component):
    def tool_eval(self, query: str, **_: Any) -> Iterator[ComponentOutput]:
        yield self.create_output("text", f"{query}: ")
        yield self.create_output("code", "1 + 1", role="assistant")


def test_all_outputs_of_a_tool_at_once() -> None:
    whole = Tool().non_stream_tool_eval("问")
    assert whole.role == "assistant"
    assert [content.type for content in whole.content] == ["text", "code"]
    with pytest.raises(NotImplementedError):
        Component().non_stream_tool_eval()


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(output.TEXTS)) | st.text(), _values, st.sampled_from(["tool", "x"]))
def test_any_call_gives_an_output_or_a_value_error(kind: str, text: Any, role: str) -> None:
    try:
        made = Component.create_output(kind, text, role)
    except ValueError:
        return
    assert ComponentOutput.model_validate(made.model_dump()).content[0].type == kind
