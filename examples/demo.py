"""What `make demo` runs: the component with history, on a local model, as an API and behind a chat page."""

import os
import sys
import threading
from pathlib import Path

os.environ.setdefault("APPBUILDER_MODEL", "local")

from playground_with_history import PlaygroundWithHistory

from appbuilder import AgentRuntime, Message
from appbuilder.errors import AppBuilderError
from appbuilder.serve.server.address import listen
from appbuilder.utils.chainlit_deploy import Page

HOST, API_PORT, PAGE_PORT = "127.0.0.1", 8091, 8092
TRY = f"""
The chat page:  http://{HOST}:{PAGE_PORT}
The API:        http://{HOST}:{API_PORT}/chat      (Ctrl-C stops both)

Try the API, and then ask on in the same session, here or on the page:

  curl -N http://{HOST}:{API_PORT}/chat -H 'Content-Type: application/json' \\
    -d '{{"message": "海淀区的面积是多少", "stream": true, "session_id": "demo"}}'

  curl -N http://{HOST}:{API_PORT}/chat -H 'Content-Type: application/json' \\
    -d '{{"message": "朝阳区呢", "stream": true, "session_id": "demo"}}'
"""
STARTERS = ["海淀区的面积是多少", "用 Python 写一个快速排序", "How long is the Nile?"]

API = {"host": HOST, "port": API_PORT, "debug": False}


def main() -> None:
    """Makes the model ready, then serves API and page until Ctrl-C."""
    for port in (API_PORT, PAGE_PORT):
        listen(HOST, port).close()  # a port that is in use is an error now, not after the download
    component = PlaygroundWithHistory()
    if os.environ["APPBUILDER_MODEL"] == "local":
        print("The local model: 491 MB, fetched once, checked by SHA-256.", flush=True)
    component.playground.run(Message("你好"), max_output_tokens=1)

    folder = Path(".demo")
    folder.mkdir(exist_ok=True)
    agent = AgentRuntime(component=component, user_session_config=f"sqlite:///{folder}/conversations.db")
    print(TRY, flush=True)
    threading.Thread(target=agent.serve, kwargs=API, daemon=True).start()
    agent.chainlit_component(host=HOST, port=PAGE_PORT, page=Page(starters=STARTERS))


if __name__ == "__main__":
    try:
        main()
    except AppBuilderError as error:
        sys.exit(str(error))
