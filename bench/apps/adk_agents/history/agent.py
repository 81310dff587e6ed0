"""Google ADK 2.13: an agent without a model, in ADK's own environment.

`adk api_server` gives it the session with all its events, and stores the question and the answer as two more.
"""
# mypy: ignore-errors

from __future__ import annotations

from collections.abc import AsyncGenerator

from bench.apps import text
from google.adk.agents import BaseAgent
from google.adk.agents.invocation_context import InvocationContext
from google.adk.events import Event
from google.genai import types


class History(BaseAgent):
    """Answers with a line that names the turn before."""

    async def _run_async_impl(self, ctx: InvocationContext) -> AsyncGenerator[Event, None]:
        # The newest event is the question, the two before it are the last turn.
        *_, last_query, last_answer, query = ["-", "-", *map(_words, ctx.session.events[-3:])]
        said = text.reply(query, last_query, last_answer)
        answer = types.Content(role="model", parts=[types.Part(text=said)])
        yield Event(author=self.name, invocation_id=ctx.invocation_id, content=answer)


def _words(event: Event) -> str:
    return event.content.parts[0].text


root_agent = History(name="history")
