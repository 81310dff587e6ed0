"""Our requests to the gateway are the SDK's, member by member, as recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from appbuilder import Message, Playground, QueryRewrite
from appbuilder.testing import GatewayDouble, Recorded, Reply

WIRE = json.loads((Path(__file__).parent / "data" / "appbuilder.json").read_text())
REQUESTS = {request["call"]: request for request in WIRE["requests"]}
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TURNS = ["海淀区的面积是多少", "431平方千米", "朝阳区呢"]


def fits(recorded: Any, sent: Any) -> bool:
    """Equal, where the record's placeholders stand for what they say."""
    if isinstance(recorded, dict):
        return (
            isinstance(sent, dict)
            and list(recorded) == list(sent)
            and all(fits(value, sent[name]) for name, value in recorded.items())
        )
    if recorded == "<uuid4>":
        return UUID4.fullmatch(sent) is not None
    if recorded == "<json>":
        return isinstance(json.loads(sent), dict)
    if isinstance(recorded, str) and recorded.startswith("<model url from the list>"):
        model = recorded.partition(">")[2]
        return isinstance(sent, str) and sent.startswith("http://") and sent.endswith(model)
    return type(recorded) is type(sent) and recorded == sent


def assert_recorded(call: str, sent: Recorded) -> None:
    recorded = REQUESTS[call]
    assert (sent.method, sent.path) == (recorded["method"], recorded["path"])
    for name, value in recorded["headers"].items():
        assert fits(value, sent.headers[name.lower()]), name
    assert sent.headers["x-appbuilder-request-id"] == sent.headers["x-bce-request-id"]
    assert fits(recorded["body"], sent.body), sent.body


def test_the_comparison_can_fail() -> None:
    body = REQUESTS["playground.blocking"]["body"]
    assert fits(body | {"user": "24dcbf1b-3ea0-4d8e-8fb5-6d8ac1e9cd4c", "model_config": {}}, body) is False
    assert fits({"top_p": 0.0}, {"top_p": 0}) is False
    assert fits({"stop": []}, {"stop": [], "more": 1}) is False


def test_model_list(gateway: GatewayDouble) -> None:
    Playground(model="eb-4").run(Message("你好"))
    assert_recorded("models.list", gateway.requests[0])


@pytest.mark.parametrize(("stream", "call"), [(False, "playground.blocking"), (True, "playground.streaming")])
def test_playground(gateway: GatewayDouble, stream: bool, call: str) -> None:
    answer = Playground(model="eb-4").run(Message("你好"), stream=stream)
    assert "".join(answer.content or "") == "你好"
    assert_recorded(call, gateway.calls[0])


@pytest.mark.parametrize(
    ("rewrite_type", "call"),
    [("带机器人回复", "query_rewrite.with_replies"), ("仅用户查询", "query_rewrite.queries_only")],
)
def test_query_rewrite(gateway: GatewayDouble, rewrite_type: str, call: str) -> None:
    QueryRewrite(model="Qianfan-Agent-Speed-8K").run(Message(TURNS), rewrite_type=rewrite_type)
    assert_recorded(call, gateway.calls[0])


def test_the_recorded_answers_are_read(gateway: GatewayDouble) -> None:
    log = WIRE["responses"]["*.blocking"]["trace_log"]
    usage = WIRE["responses"]["*.blocking"]["usage"]
    gateway.reply(Reply(["你", "好"], usage=usage, extra={"trace_log": log}))
    answer = Playground(model="eb-4").run(Message("你好"))
    assert answer.content == "你好"
    assert answer.token_usage == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    assert answer.extra == {"search_db": [{"content": "c"}]}
    assert answer.id == gateway.calls[0].headers["x-appbuilder-request-id"]


def test_a_recorded_stream_is_read(gateway: GatewayDouble) -> None:
    events = WIRE["responses"]["*.streaming (SSE data lines)"]
    lines = "".join(f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events)
    gateway.reply(Reply(raw=lines.encode()))
    answer = Playground(model="eb-4").run(Message("你好"), stream=True)
    assert answer.mtype == "str"
    assert list(answer.content or ()) == ["你", "好"]
    assert (answer.content, answer.mtype) == ("你好", "str")
    assert answer.token_usage == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    assert answer.id == gateway.calls[0].headers["x-appbuilder-request-id"]


def test_further_arguments_reach_the_model(gateway: GatewayDouble) -> None:
    Playground(model="eb-4").run(
        Message("你好"), temperature=0.5, stop=["。"], request_id="r-1", timeout=3.0, penalty_score=1.2
    )
    sent = gateway.calls[0]
    parameters = sent.body["model_config"]["model"]["completion_params"]
    assert (parameters["temperature"], parameters["stop"], parameters["penalty_score"]) == (0.5, ["。"], 1.2)
    assert "timeout" not in parameters
    assert "request_id" not in parameters
    assert sent.headers["x-appbuilder-request-id"] == sent.headers["x-bce-request-id"] == "r-1"


def test_search_results_have_the_names_the_sdks_users_know(gateway: GatewayDouble) -> None:
    found = {"id": "u", "mock_id": "1", "content": "c", "title": "t", "icon": "i", "site_name": "s", "x": 1}
    wanted = {"url": "u", "ref_id": "1", "content": "c", "title": "t", "icon": "i", "site_name": "s"}
    log = [{"tool": "search_baidu", "result": [found]}, {"tool": "a_new_tool", "result": [{"y": 2}]}]
    gateway.reply(Reply(extra={"trace_log": log}))
    answer = Playground(model="eb-4").run(Message("你好"), disable_search=False)
    assert answer.extra == {"search_baidu": [wanted], "a_new_tool": [{"y": 2}]}

    gateway.reply(Reply(extra={"tool": "search_baidu", "result": [found]}))
    answer = Playground(model="eb-4").run(Message("你好"), stream=True)
    assert list(answer.content or ()) == ["你好"]
    assert answer.extra == {"search_baidu": [wanted]}
