"""An application on AppBuilder that calls a Python function of this program, as a service.

Each run declares the function to the application; when it wants the function called, it stops and says
with which arguments. ToolCallEventHandler calls it here and sends back what it returned, until the answer is
whole. APPBUILDER_TOKEN is the credential, APP_ID the application's id.

    curl http://127.0.0.1:8091/chat -H 'Content-Type: application/json' \\
      -d '{"message": "北京现在多少度", "session_id": "me"}'
"""

import os

from appbuilder import AppBuilderClient, Component, FlaskRuntime, Message, UserSession
from appbuilder.core.console.appbuilder_client.event_handler import ToolCallEventHandler

CONVERSATION = "conversation"


def get_temperature(city: str, unit: str = "C") -> str:
    """What the application asks for; a database or a machine of yours would be asked here."""
    degrees = {"北京": 7, "上海": 14}.get(city)
    if degrees is None:
        return f"没有{city}的数据"
    return f"{city}现在{degrees if unit == 'C' else degrees * 9 // 5 + 32}°{unit}"


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_temperature",
            "description": "The temperature in a city, now.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "the city's name, 北京 for instance"},
                    "unit": {"type": "string", "enum": ["C", "F"]},
                },
                "required": ["city"],
            },
        },
    }
]


class Weather(Component):
    """Asks the application, in the session's own conversation."""

    def __init__(self, client: AppBuilderClient) -> None:
        super().__init__()
        self.client = client

    def run(self, message: Message, stream: bool = False) -> Message:
        handler = ToolCallEventHandler(functions=[get_temperature])
        answers = self.client.run_with_handler(
            self.conversation(), message.content, tools=TOOLS, stream=stream, event_handler=handler
        )
        if stream:
            return Message(piece.text for piece in answers)
        answers.until_done()
        return Message(handler.result)

    def conversation(self) -> str:
        """The session's conversation; it is remembered when the turn ends, with what else was appended."""
        session = UserSession()
        known = session.get_history(CONVERSATION, limit=1)
        if known:
            return known[0].content
        conversation_id = self.client.create_conversation()
        session.append({CONVERSATION: Message(conversation_id)})
        return conversation_id


if __name__ == "__main__":
    runtime = FlaskRuntime(Weather(AppBuilderClient(os.environ["APP_ID"])), "sqlite:///app_local_tool.db")
    runtime.serve(host="127.0.0.1", port=int(os.environ.get("PORT", "8091")), debug=False)
