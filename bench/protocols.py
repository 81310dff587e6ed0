"""How each contender is asked, and where the answer stands in what it sends."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson

from bench.client import Failure


@dataclass(frozen=True, slots=True)
class Protocol:
    """``ask`` makes the request for (session, words), ``said`` finds the words in an answer's JSON."""

    ask: Callable[[str, str], bytes]
    said: Callable[[Any], str]

    def answer(self, status: int, body: bytes) -> str:
        """The words of a whole answer.

        :raises Failure: it is not one; the SDK sends errors with status 200, too.
        """
        data = parse(status, body)
        try:
            return self.said(data)
        except (LookupError, TypeError):
            raise Failure(f"an error with status {status}") from None


def parse(status: int, body: bytes) -> Any:
    """The JSON of an answer with status 200.

    :raises Failure: it is not valid.
    """
    if status != 200:
        raise Failure(f"status {status}")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Failure("not JSON") from None


def post(path: str, data: bytes, kind: str = "application/json") -> bytes:
    """A request on a connection that is kept."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def get(path: str) -> bytes:
    """A request without a body."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def chat_request(body: dict[str, object]) -> bytes:
    """A request to POST /chat."""
    return post("/chat", _json(body))


def stream_request(session: str, pieces: int, delay: float) -> bytes:
    """A request for a stream of *pieces* pieces, *delay* seconds apart."""
    return chat_request({
        "message": "hello", "stream": True, "session_id": session, "count": pieces, "delay": delay
    })


def _ask_chat(session: str, words: str) -> bytes:
    return chat_request({"message": words, "stream": False, "session_id": session})


def _ask_adk(session: str, words: str) -> bytes:
    message = {"role": "user", "parts": [{"text": words}]}
    body = {"app_name": "history", "user_id": "user", "session_id": session, "new_message": message}
    return post("/run", _json(body))


def _ask_agno(session: str, words: str) -> bytes:
    form = {"message": words, "stream": "false", "session_id": session}
    return post("/agents/history/runs", urlencode(form).encode(), "application/x-www-form-urlencoded")


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


CHAT = Protocol(_ask_chat, lambda data: str(data["result"]["answer_message"].get("content")))
ADK_RUN = Protocol(_ask_adk, lambda events: str(events[-1]["content"]["parts"][0]["text"]))
AGNO_RUN = Protocol(_ask_agno, lambda run: str(run["content"]))
