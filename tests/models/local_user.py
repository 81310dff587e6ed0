"""A program that uses the local model: one JSON line of answer per line on standard input.

``ask`` asks; ``stream`` begins an answer and tells of its first piece; ``fork`` asks in a forked child.
"""

from __future__ import annotations

import json
import os
import sys

from appbuilder import Message, Playground
from appbuilder.models.local import client

MODEL = "local/smollm2-135m"


def ask() -> dict[str, object]:
    answer = Playground(model=MODEL).run(Message("Name a colour."), max_output_tokens=8)
    owners = [lease.pid for (user, _), lease in client._leases.items() if user == os.getpid()]
    return {"owners": owners, "tokens": answer.token_usage["completion_tokens"]}


def fork() -> dict[str, object]:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, json.dumps(ask()).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told: dict[str, object] = json.loads(pipe.read())
    os.waitpid(child, 0)
    return told


def stream() -> dict[str, object]:
    answer = Playground(model=MODEL).run(Message("Count to 1000."), stream=True, max_output_tokens=500)
    pieces = iter(answer.content or ())
    kept.append(pieces)
    return {"first": next(pieces)}


kept: list[object] = []
for line in sys.stdin:
    print(json.dumps({"ask": ask, "fork": fork, "stream": stream}[line.strip()]()), flush=True)
