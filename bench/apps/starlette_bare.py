"""Starlette by hand, without this product: what its answers cost where nothing else is done."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route


def envelope(session_id: str, message_id: str, content: str, **more: Any) -> dict[str, Any]:
    """The answer in the shape of POST /chat."""
    message = {"content": content, "name": "msg", "mtype": "str", "id": message_id}
    result = {"session_id": session_id, **more, "answer_message": message}
    return {"code": 0, "message": "", "result": result}


async def echo(request: Request) -> Response:
    data = await request.json()
    return JSONResponse(envelope(data["session_id"], str(uuid4()), data["message"]))


async def tokens(request: Request) -> Response:
    data = await request.json()
    session_id, count, delay = data["session_id"], data["count"], data["delay"]

    async def events() -> AsyncIterator[str]:
        # What is the same in every event is encoded once, as it is in this product.
        head = json.dumps(envelope(session_id, str(uuid4()), "|", is_completion=False), ensure_ascii=False)
        before, after = head.split('"|"')
        before, after = f"data: {before}", f"{after}\n\n"
        for number in range(count):
            if number and delay:
                await asyncio.sleep(delay)
            yield before + json.dumps(f"t{number} ") + after
        last = envelope(session_id, str(uuid4()), "", is_completion=True)
        yield f"data: {json.dumps(last, ensure_ascii=False)}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def health(request: Request) -> Response:
    return PlainTextResponse("ok")


CHAT: dict[str, Callable[[Request], Awaitable[Response]]] = {"echo": echo, "tokens": tokens}
app = Starlette(
    routes=[Route("/chat", CHAT[os.environ["BENCH_APP"]], methods=["POST"]), Route("/health", health)]
)
