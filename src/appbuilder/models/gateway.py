"""AppBuilder's gateway: its own wire, as AppBuilder SDK 1.1.5 speaks it.

Requests and responses are those recorded in ``tests/models/data/appbuilder.json``. A streamed answer ends
with an event that has ``usage``; one without it was cut short.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

from appbuilder import jsontext
from appbuilder.core.credentials import gateway_headers, with_scheme
from appbuilder.errors import ModelUnavailable
from appbuilder.ids import new_id
from appbuilder.models import failures, http
from appbuilder.models.appbuilder import (
    REQUEST_ID,
    checked_token,
    events_of,
    json_object,
    raise_error_in,
    refusal,
    unreadable,
)
from appbuilder.models.base import Delta, ModelCall, Server
from appbuilder.models.catalog import Catalog
from appbuilder.models.failures import Failure, with_retries
from appbuilder.models.network import current_token
from appbuilder.models.stream import Reader, ResponseStream, Sent
from appbuilder.settings import Settings

LIST_PATH = "/rpc/2.0/cloud_hub/v1/bce/wenxinworkshop/service/list"
SERVICE_PATH = "/rpc/2.0/cloud_hub/v1/ai_engine/copilot_engine/v1/api/llm/"

_SEARCH_FIELDS = {"id": "url", "mock_id": "ref_id", "content": "content", "title": "title", "icon": "icon",
                  "site_name": "site_name"}

# A catalogue of its own for each process, and after a late patch by gevent, for its lock's sake.
_catalogs: dict[tuple[int, type], Catalog] = {}


def catalog() -> Catalog:
    """The process's model lists."""
    return _catalogs.setdefault((os.getpid(), socket.socket), Catalog())


class GatewayModel:
    """A model behind AppBuilder's gateway.

    :param name: its full name, or a short one: ``eb-4``, ``eb``, ``eb-turbo``.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.server = Server("baidu.appbuilder", name, with_scheme(settings.gateway_url))
        self._settings = settings

    def open(self, call: ModelCall) -> ResponseStream[Delta]:
        """See :class:`appbuilder.models.base.Model`.

        :raises ConfigurationError: there is no credential, or the gateway's address is none.
        """
        token = checked_token(call.credential, call.callers_credential)
        gateway = with_scheme(call.gateway or self._settings.gateway_url)
        model = catalog().find(gateway, token, self.name, lambda: self._fetch_list(call, gateway, token))
        headers = _headers(token, call.request_id)
        body = jsontext.dumps(self._body(call, model.url))

        def send() -> Sent[Delta]:
            response = self._post(call, f"{gateway}{SERVICE_PATH}{call.service}", headers, body)
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            # Errors of a streamed call may come as plain JSON.
            read = _streamed if call.stream and kind != "application/json" else _whole
            return response, read(response, call.callers_credential)

        return _READER.begin(send, self._settings, REQUEST_ID, call.texts)

    def _body(self, call: ModelCall, url: str) -> dict[str, Any]:
        wanted = call.parameters
        parameters = {
            "temperature": wanted.temperature,
            "top_p": wanted.top_p,
            "max_output_tokens": wanted.max_output_tokens,
            "disable_search": wanted.disable_search,
            "response_format": wanted.response_format,
            "stop": list(wanted.stop),
            **wanted.further,
        }
        model = {"provider": "baidu", "name": self.name, "completion_params": parameters, "url": url}
        return {
            "query": call.inputs["query"],
            "inputs": dict(call.inputs),
            "response_mode": "streaming" if call.stream else "blocking",
            "user": new_id(),
            "model_config": {"model": model},
        }

    def _fetch_list(self, call: ModelCall, gateway: str, token: str) -> Any:
        def fetch() -> Any:
            response = self._post(call, gateway + LIST_PATH, _headers(token), b'{"apiTypefilter":[]}')
            try:
                data = json_object(response.read())
            finally:
                response.close()
            raise_error_in(data, response, call.callers_credential)
            return data

        return with_retries(lambda: _READER.read(fetch), self._settings, current_token())

    def _post(self, call: ModelCall, url: str, headers: Mapping[str, str], body: bytes) -> httpx2.Response:
        client, wait = http.client(), http.timeouts(self._settings, call.timeout)
        request = client.build_request("POST", url, headers=dict(headers), content=body, timeout=wait)
        response = client.send(request, stream=True)
        if response.status_code != 200:
            raise refusal(response, call.callers_credential)
        return response


def _headers(token: str, call_id: str | None = None) -> dict[str, str]:
    return {**gateway_headers(token, call_id), "Content-Type": "application/json"}


def _streamed(response: httpx2.Response, callers_credential: bool) -> Iterator[Delta]:
    ended = False
    for data in events_of(response.iter_bytes()):
        if data == b"[DONE]":
            continue
        event = json_object(data)
        raise_error_in(event, response, callers_credential)
        delta = _delta(event)
        ended = ended or "usage" in event
        yield delta
    if not ended:
        call_id = response.headers.get(REQUEST_ID, "")
        error = ModelUnavailable("The model server's answer was cut short.", request_id=call_id)
        raise Failure(error, again=True)


def _whole(response: httpx2.Response, callers_credential: bool) -> Iterator[Delta]:
    data = json_object(response.read())
    raise_error_in(data, response, callers_credential)
    yield _delta(data)


def _delta(event: Mapping[str, Any]) -> Delta:
    text, usage = event.get("answer"), event.get("usage")
    extra = {}
    log = event.get("trace_log")
    # A blocking answer lists what tools found; in a stream an event is about one tool.
    for found in [*(log if isinstance(log, list) else ()), event]:
        if isinstance(found, dict) and isinstance(found.get("tool"), str) and found.get("result") is not None:
            extra[found["tool"]] = _found(found["tool"], found["result"])
    return Delta(
        text if isinstance(text, str) else "", dict(usage) if isinstance(usage, dict) else {}, extra
    )


def _found(tool: str, results: Any) -> Any:
    if tool != "search_baidu" or not isinstance(results, list):
        return results
    return [{_SEARCH_FIELDS[name]: value for name, value in item.items() if name in _SEARCH_FIELDS}
            for item in results if isinstance(item, dict)]


# ValueError: not JSON, not UTF-8, or an event without end.
_READER = Reader((*failures.FOREIGN, ValueError), unreadable)
