"""AppBuilder's gateway: its own wire, as AppBuilder SDK 1.1.5 speaks it.

Requests and responses are those recorded in ``tests/models/data/appbuilder.json``. A streamed answer ends
with an event that has ``usage``, or with ``[DONE]``; one without either was cut short.
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
from appbuilder.models import failures, http_client
from appbuilder.models.base import Delta, ModelCall, Server
from appbuilder.models.failures import Failure, with_retries
from appbuilder.models.gateway_models import Catalog
from appbuilder.models.gateway_protocol import REQUEST_ID, Events, checked_token, refusal, unreadable, whole
from appbuilder.models.network import current_token
from appbuilder.models.response_body import MAX_BODY
from appbuilder.models.response_stream import Reader, ResponseStream, Sent
from appbuilder.models.timeouts import LAST_WORDS, Patience
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

        :raises ConfigurationError: there is no credential, or the gateway's address is not valid.
        """
        token = checked_token(call.credential, call.callers_credential)
        gateway = with_scheme(call.gateway or self._settings.gateway_url)
        model = catalog().find(gateway, token, self.name, lambda: self._fetch_list(call, gateway, token))
        headers = _headers(token, call.request_id)
        body = jsontext.dumps(self._body(call, model.url))
        wait = http_client.timeouts(self._settings, call.timeout)
        patience = http_client.patience(wait)

        def send() -> Sent[Delta]:
            response = self._post(call, f"{gateway}{SERVICE_PATH}{call.service}", headers, body, wait)
            read = _streamed if call.stream else _whole
            return response, read(response, patience, call.callers_credential)

        return _READER.begin(send, self._settings, patience, REQUEST_ID, call.texts)

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
        wait = http_client.timeouts(self._settings, call.timeout)
        patience = http_client.patience(wait)

        def fetch() -> Any:
            response = self._post(call, gateway + LIST_PATH, _headers(token), b'{"apiTypefilter":[]}', wait)
            try:
                return whole(response, patience, call.callers_credential)
            finally:
                response.close()

        return with_retries(
            lambda: _READER.read(fetch), self._settings, current_token(), patience=patience
        )

    def _post(
        self, call: ModelCall, url: str, headers: Mapping[str, str], body: bytes, wait: httpx2.Timeout
    ) -> httpx2.Response:
        client = http_client.client()
        request = client.build_request("POST", url, headers=dict(headers), content=body, timeout=wait)
        response = client.send(request, stream=True)
        if response.status_code != 200:
            raise refusal(response, call.callers_credential)
        return response


def _headers(token: str, call_id: str | None = None) -> dict[str, str]:
    return {**gateway_headers(token, call_id), "Content-Type": "application/json"}


def _streamed(response: httpx2.Response, patience: Patience, callers_credential: bool) -> Iterator[Delta]:
    events, halves, found = Events(response, patience, callers_credential), jsontext.Halves(), 0
    for event, size in events:
        delta = _delta(event, halves)
        if delta.extra:
            found += size
            if found > MAX_BODY:
                raise jsontext.NotJson("what its tools found is longer than 8 MiB")
        events.ended = "usage" in event
        if delta.extra or delta.text.strip():
            patience.renew()
        elif events.ended:
            patience.shorten(LAST_WORDS)
        if delta.text or delta.usage or delta.extra or delta.response:
            yield delta
    if rest := halves.end():
        yield Delta(rest)
    if not events.ended:
        call_id = response.headers.get(REQUEST_ID, "")
        error = ModelUnavailable("The model server's answer was cut short.", request_id=call_id)
        raise Failure(error, again=True)


def _whole(response: httpx2.Response, patience: Patience, callers_credential: bool) -> Iterator[Delta]:
    yield _delta(whole(response, patience, callers_credential), None)


def _delta(event: Mapping[str, Any], halves: jsontext.Halves | None) -> Delta:
    text, usage = event.get("answer"), event.get("usage")
    if not isinstance(text, (str, type(None))):
        raise jsontext.NotJson("its answer is not a text")
    text = jsontext.clean(text or "") if halves is None else halves.join(text or "")
    extra = {}
    log = event.get("trace_log")
    # A blocking answer lists what tools found; in a stream an event is about one tool.
    for found in [*(log if isinstance(log, list) else ()), event]:
        if isinstance(found, dict) and isinstance(found.get("tool"), str) and found.get("result") is not None:
            extra[found["tool"]] = _found(found["tool"], found["result"])
    return Delta(text, dict(usage) if isinstance(usage, dict) else {}, extra, _response(event))


def _response(event: Mapping[str, Any]) -> dict[str, Any]:
    reason = event.get("finish_reason")
    if event.get("is_truncated") is True:
        reason = "length"
    return {"finish_reasons": [reason]} if reason and isinstance(reason, str) else {}


def _found(tool: str, results: Any) -> Any:
    if tool != "search_baidu" or not isinstance(results, list):
        return results
    return [{_SEARCH_FIELDS[name]: value for name, value in item.items() if name in _SEARCH_FIELDS}
            for item in results if isinstance(item, dict)]


# ValueError: not JSON, not UTF-8, or an event without end.
_READER = Reader((*failures.FOREIGN, ValueError), unreadable)
