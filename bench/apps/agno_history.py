"""Agno 3.1: an AgentOS whose model is a function, in Agno's own environment.

The agent stores each run in SQLite and gives the last one to the model as messages.
"""
# mypy: ignore-errors

from __future__ import annotations

from dataclasses import dataclass

from agno.agent import Agent
from agno.db.sqlite import SqliteDb
from agno.models.base import Model
from agno.models.message import Message
from agno.models.response import ModelResponse
from agno.os import AgentOS

from bench.apps import text


@dataclass
class Echo(Model):
    """Answers with a line that names the turn before."""

    id: str = "echo"

    async def ainvoke(self, messages: list[Message], *args, **kwargs) -> ModelResponse:
        said = [message.content for message in messages if message.role in ("user", "assistant")]
        *_, last_query, last_answer, query = ["-", "-", *said]
        return ModelResponse(role="assistant", content=text.reply(query, last_query, last_answer))

    def invoke(self, *args, **kwargs):
        raise NotImplementedError

    invoke_stream = ainvoke_stream = _parse_provider_response = _parse_provider_response_delta = invoke


history = Agent(
    id="history",
    model=Echo(),
    db=SqliteDb(db_file="bench.db"),
    add_history_to_context=True,
    num_history_runs=1,
    telemetry=False,
)
app = AgentOS(agents=[history], telemetry=False).get_app()
