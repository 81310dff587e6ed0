"""What `make demo` runs: the component with history, on a local model, at http://127.0.0.1:8091."""

import os
from pathlib import Path

os.environ.setdefault("APPBUILDER_MODEL", "local")

from playground_with_history import PlaygroundWithHistory

from appbuilder import FlaskRuntime, Message

HOST, PORT = "127.0.0.1", 8091
TRY = f"""
Ready at http://{HOST}:{PORT}/chat  (Ctrl-C stops it)

Try it, and then ask on in the same session:

  curl -N http://{HOST}:{PORT}/chat -H 'Content-Type: application/json' \\
    -d '{{"message": "海淀区的面积是多少", "stream": true, "session_id": "demo"}}'

  curl -N http://{HOST}:{PORT}/chat -H 'Content-Type: application/json' \\
    -d '{{"message": "朝阳区呢", "stream": true, "session_id": "demo"}}'
"""

if __name__ == "__main__":
    component = PlaygroundWithHistory()
    print("Getting the local model ready (the first time it is fetched, 491 MB)...", flush=True)
    component.playground.run(Message("你好"), max_output_tokens=1)

    folder = Path(".demo")
    folder.mkdir(exist_ok=True)
    agent = FlaskRuntime(component=component, user_session_config=f"sqlite:///{folder}/conversations.db")
    print(TRY, flush=True)
    agent.serve(host=HOST, debug=False, port=PORT)
