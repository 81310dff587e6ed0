"""The OpenAI-compatible API."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from appbuilder import jsontext
from appbuilder.errors import NotFound
from appbuilder.protocols.openai.error_body import body as error_body
from appbuilder.protocols.openai.model_list import model, model_list
from appbuilder.serve.http.long_requests import answer_in_parts, wait_in_line
from appbuilder.serve.http.messages import REQUEST_ID, REQUEST_ID_HEADERS, caller, reply
from appbuilder.serve.http.state import Service
from appbuilder.serve.http.thread_pools import READS
from appbuilder.serve.routes.openai.completions import ChatCompletions
from appbuilder.serve.routes.openai.handler import now_in_seconds
from appbuilder.serve.routes.openai.responses import CreateResponse, read_response

__all__ = ["error_body", "routes"]


def routes(service: Service) -> Sequence[BaseRoute]:
    """The routes under /v1."""
    started = now_in_seconds()

    async def models(request: Request) -> Response:
        caller(request)
        return _error_response(request, model_list(service.name, started))

    async def one_model(request: Request) -> Response:
        caller(request)
        name = request.path_params["id"]
        if name != service.name:
            raise NotFound(f"The model {name[:100]!r} does not exist.", param="model")
        return _error_response(request, model(service.name, started))

    async def response(request: Request) -> Response:
        async with AsyncExitStack() as held:
            await wait_in_line(request, READS, held)
            found = await read_response(service, caller(request), request.path_params["id"])
            return _with_id(request, answer_in_parts([jsontext.dumps(found)], held))

    return [
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{id:path}", one_model, methods=["GET"]),
        Route("/v1/chat/completions", ChatCompletions(service), methods=["POST"]),
        Route("/v1/responses", CreateResponse(service), methods=["POST"]),
        Route("/v1/responses/{id}", response, methods=["GET"]),
    ]


def _error_response(request: Request, value: Any) -> Response:
    """*value* as JSON, with the request's id, as every answer of this API has it."""
    return _with_id(request, reply(value))


def _with_id(request: Request, answer: Response) -> Response:
    request_id = request.scope[REQUEST_ID].encode()
    answer.raw_headers.extend((name, request_id) for name in REQUEST_ID_HEADERS)
    return answer
