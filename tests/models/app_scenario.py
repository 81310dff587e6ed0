"""A program for AppBuilderClient, as one is written for the AppBuilder SDK: it runs on either.

``python app_scenario.py <address of the service> <a file>``; what it saw is the last line it prints, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import appbuilder
from appbuilder.core.console.appbuilder_client import data_class
from appbuilder.core.console.appbuilder_client.event_handler import (
    AppBuilderEventHandler,
    ToolCallEventHandler,
)

os.environ["GATEWAY_URL_V2"], os.environ["APPBUILDER_TOKEN"] = sys.argv[1], "bce-v3/ALTAK-x/y"

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "天气",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
EVENT = ("code", "message", "status", "event_type", "content_type", "detail")
seen: dict[str, Any] = {}


def plain(answer: Any) -> list[Any]:
    events = [
        [*(getattr(event, name) for name in EVENT),
         event.usage and event.usage.total_tokens,
         [[call.id, call.type, call.function.name, call.function.arguments]
          for call in event.tool_calls or ()]]
        for event in answer.events
    ]
    return [answer.answer, answer.message_id, events]


def get_weather(city: str) -> str:
    return f"{city} 30"


class Watching(AppBuilderEventHandler):
    """Notes which hooks are called, and answers as a workflow's user does."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []
        self.asked: list[str] = []

    def handle_event_type(self, run_context: Any, run_response: Any) -> None:
        self.calls.append(["event_type", run_context.current_event.event_type])

    def handle_content_type(self, run_context: Any, run_response: Any) -> None:
        event = run_response.events[-1]
        self.calls.append(["content_type", event.content_type])
        if event.content_type == "chatflow_interrupt":
            self.asked.append(event.detail["interrupt_event_id"])

    def actions(self) -> Any:
        while True:
            yield data_class.Action.create_resume_action(self.asked.pop()) if self.asked else None

    def preparing(self, run_context: Any, run_response: Any) -> None:
        self.calls.append(["preparing", run_response.answer])

    def running(self, run_context: Any, run_response: Any) -> None:
        self.calls.append(["running", run_response.answer])

    def done(self, run_context: Any, run_response: Any) -> None:
        self.calls.append(["done", run_response.answer])

    def error(self, run_context: Any, run_response: Any) -> None:
        self.calls.append(["error", run_context.current_event.message])

    def success(self, run_context: Any, run_response: Any) -> None:
        self.calls.append(["success", run_context.is_complete])

    def interrupt(self, run_context: Any, run_response: Any) -> Any:
        self.calls.append(["interrupt", run_context.current_thought, run_context.need_tool_submit])
        return [
            {"tool_call_id": call.id, "output": get_weather(**call.function.arguments)}
            for call in run_context.current_tool_calls
        ]


apps = appbuilder.describe_apps()
seen["apps"] = [[app.id, app.name, app.appType, app.isPublished, app.updateTime] for app in apps]
app = appbuilder.describe_app("app-1")
seen["app"] = [app.id, app.name, app.prologue, app.exampleQueries, app.modelConfig]
seen["list"] = [app.id for app in appbuilder.get_app_list(limit=2)]

client = appbuilder.AppBuilderClient("app-1")
conversation = client.create_conversation()
local = client.upload_local_file(conversation, sys.argv[2])
remote = client.upload_file(conversation, file_url="https://host/表.xlsx")
seen["ids"] = [conversation, local, remote]
seen["blocking"] = plain(client.run(conversation, "你好").content)
seen["streaming"] = [plain(answer) for answer in client.run(conversation, "你好", stream=True).content]
seen["feedback"] = [
    len(client.feedback(conversation, "m-1", "upvote")),
    len(client.feedback(conversation, "m-1", "downvote", flag=["没有帮助"], reason="太短")),
]

said = client.run(conversation, "天气", tools=TOOLS).content
seen["interrupt"] = plain(said)
outputs = [{"tool_call_id": said.events[-1].tool_calls[-1].id, "output": "30"}]
seen["outputs"] = plain(client.run(conversation, tool_outputs=outputs).content)
tool = data_class.Tool(
    function=data_class.Function(name="get_weather", description="天气", parameters={"type": "object"})
)
said = client.run(conversation, "天气", tools=[tool]).content
output = data_class.ToolOutput(tool_call_id=said.events[-1].tool_calls[-1].id, output="31")
seen["typed outputs"] = plain(client.run(conversation, tool_outputs=[output]).content)

chosen = data_class.ToolChoiceFunction(name="WeatherQuery", input={"city": "北京"})
seen["everything"] = plain(
    client.run(
        conversation, "全部", file_ids=[local, remote],
        tool_choice=data_class.ToolChoice(type="function", function=chosen),
        end_user_id="user-1", mcp_authorization=[{"name": "pan", "token": "t"}],
        parameters={"city": "北京", "n": 1.5},
        custom_metadata=data_class.CustomMetadata(override_role_instruction="# 角色"),
    ).content
)

said = list(client.run(conversation, "查航班", stream=True).content)
seen["asked"] = [plain(answer) for answer in said]
(question,) = [event.detail["interrupt_event_id"] for answer in said for event in answer.events
               if event.content_type == "chatflow_interrupt"]
resume = data_class.Action.create_resume_action(question)
seen["resumed"] = plain(client.run(conversation, "CA1234", action=resume).content)

for stream in (False, True):
    watching = Watching()
    with client.run_with_handler(
        conversation, "天气", tools=TOOLS, stream=stream, event_handler=watching
    ) as run:
        run.until_done()
    seen[f"handler {stream}"] = watching.calls

calling = ToolCallEventHandler([get_weather])
client.run_with_handler(conversation, "天气", tools=TOOLS, stream=True, event_handler=calling).until_done()
seen["called"] = calling.result

watching = Watching()
for data in client.run_multiple_dialog_with_handler(
    conversation, queries=["订票", "北京"], event_handler=watching, stream=True, actions=watching.actions()
):
    for _ in data:
        pass
seen["dialogs"] = watching.calls

errors = []
for _ in range(5):
    try:
        client.run(conversation, "错")
        errors.append(False)
    except Exception:
        errors.append(True)
try:
    list(client.run(conversation, "断", stream=True).content)
    errors.append(False)
except Exception:
    errors.append(True)
seen["errors"] = errors
print(json.dumps(seen))
