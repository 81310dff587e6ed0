"""Run by the SDK's own Python: writes turns the way its AgentRuntime does."""

import sys

from appbuilder.core.context import init_context
from appbuilder.core.message import Message
from appbuilder.core.user_session import UserSession

session = UserSession("sqlite:///" + sys.argv[1])
for turn in range(1, 4):
    for number in (1, 2):
        init_context(session_id=f"sdk-session-{number}", request_id=f"request-{number}-{turn}")
        session.append({"query": Message(f"问题 {turn}"), "answer": Message({"text": f"回答 {turn}"})})
        session._post_append()
