"""OpenAI-compatible servers: OpenAI, Qianfan v2, vLLM, Ollama, llama.cpp...

For Qianfan v2 set ``OPENAI_BASE_URL`` to ``https://qianfan.baidubce.com/v2`` and
``OPENAI_API_KEY`` to a Qianfan key.

A call is always streamed, with usage; a blocking one drains the stream. An answer ends with a
``finish_reason`` or with ``[DONE]``; one without either was cut short. The package ``openai`` sends the
calls; what comes is read here, within bounds and by its shape (:mod:`.chunks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlsplit

import httpx2
import openai
from openai.types.chat import ChatCompletionChunk

from appbuilder import jsontext, tracing
from appbuilder.errors import ConfigurationError, ModelRejected, ModelUnavailable
from appbuilder.models import failures, http_client
from appbuilder.models.base import Delta, ModelCall, ModelParameters, Server
from appbuilder.models.completion_chunks import delta_of, reasons_on
from appbuilder.models.failures import Failure
from appbuilder.models.response_body import Body, HtmlAnswer, json_object
from appbuilder.models.response_stream import Reader, ResponseStream, Sent
from appbuilder.models.sse_decoder import ErrorEvent
from appbuilder.models.timeouts import LAST_WORDS, Patience
from appbuilder.settings import Settings

SMALLEST_TOP_P = 1e-10
"""Sent for ``top_p=0``. Zero means "only the likeliest token", but vLLM and others take (0, 1] only
(https://docs.vllm.ai, SamplingParams); the smallest share means the same and is taken everywhere."""

# Further arguments may come straight from a request: they choose neither the model, for which the service
# pays, nor the prompt.
_OURS = ("model", "messages", "stream")
# Where servers tell what went wrong: OpenAI's, FastAPI's, Baidu's.
_ERROR_TEXTS = ("message", "detail", "error_msg")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PROVIDERS = {
    "openai.azure.com": "azure.ai.openai",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.moonshot.cn": "moonshot_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
    "qianfan.baidubce.com": "baidu.qianfan",
}


class OpenAIModel:
    """A model behind an OpenAI-compatible server.

    :param name: the model's name there.
    :param base_url: the server's address, with its version: ``https://api.openai.com/v1``.
    :param api_key: its key; a server on a loopback address needs none.
    """

    def __init__(self, name: str, base_url: str, api_key: str, settings: Settings) -> None:
        self.name = name
        self._base_url = base_url
        self._api_key = api_key
        self._settings = settings
        self.server = Server(_provider(base_url), name, base_url)
        # Names of parameters this server refused; a benign race at worst asks it twice.
        self._refused: frozenset[str] = frozenset()

    def open(self, call: ModelCall) -> ResponseStream[Delta]:
        """See :class:`appbuilder.models.base.Model`.

        :raises ConfigurationError: there is no key, or the address is not valid.
        """
        client = self._client()
        wait = http_client.timeouts(self._settings, call.timeout)
        patience = http_client.patience(wait)

        def send() -> Sent[Delta]:
            refused = self._refused
            while True:
                body = self._body(call, refused)
                try:
                    stream = client.post(
                        "/chat/completions",
                        cast_to=ChatCompletionChunk,
                        body=body,
                        options={"timeout": wait, "headers": tracing.carried()},
                        stream=True,
                        stream_cls=openai.Stream[ChatCompletionChunk],
                    )
                except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                    name = _refused_parameter(error, body, call)
                    if name is None:
                        raise
                    refused |= {name}
                else:
                    self._refused = refused
                    return stream.response, _deltas(stream.response, patience)

        return _READER.begin(send, self._settings, patience, "x-request-id", call.texts)

    def check(self) -> None:
        """:raises ConfigurationError: there is no key, and the server is not on this machine."""
        self._key()

    def _key(self) -> str:
        if not self._api_key:
            if urlsplit(self._base_url).hostname not in _LOOPBACK:
                raise ConfigurationError(
                    f"No key for {self._base_url}. Set OPENAI_API_KEY, or use another model: "
                    "APPBUILDER_MODEL=local needs none."
                )
            return "none"
        return self._api_key

    def _client(self) -> openai.OpenAI:
        key = self._key()
        # Trying again is ours: the package's own pauses cannot be broken off.
        return openai.OpenAI(
            api_key=key, base_url=self._base_url, http_client=http_client.client(), max_retries=0
        )

    def _body(self, call: ModelCall, refused: frozenset[str]) -> dict[str, Any]:
        wanted = call.parameters
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [{name: jsontext.clean(text) for name, text in message.items()}
                         for message in call.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": wanted.temperature,
            "top_p": max(wanted.top_p, SMALLEST_TOP_P),
            "max_tokens": wanted.max_output_tokens,
        }
        if wanted.stop:
            body["stop"] = list(wanted.stop)
        if wanted.response_format != "text":
            body["response_format"] = {"type": wanted.response_format}
        if "max_tokens" in refused:
            body["max_completion_tokens"] = wanted.max_output_tokens
        for name in refused & _dispensable(wanted):
            del body[name]
        return body | {name: value for name, value in wanted.further.items() if name not in _OURS}


def _dispensable(wanted: ModelParameters) -> set[str]:
    """The parameters a call can do without; a temperature or top_p the program chose is not one."""
    usual = ModelParameters()
    names = {name for name in ("temperature", "top_p") if getattr(wanted, name) == getattr(usual, name)}
    return (names | {"stream_options", "max_tokens"}) - wanted.further.keys()


def _refused_parameter(error: openai.APIStatusError, body: Mapping[str, Any], call: ModelCall) -> str | None:
    """The parameter the server does not know or take, if the call can do without it.

    ``stream_options`` is refused by Azure and Mistral (langgenius/dify-plugin-sdks#50,
    openai/openai-agents-python#442); OpenAI's reasoning models refuse ``max_tokens`` for
    ``max_completion_tokens`` and any temperature or top_p but their own.
    """
    said = f"{error.param} {error.message} {error.body}"
    for name in ("stream_options", "max_tokens", "temperature", "top_p"):
        if name in said and name in body and name in _dispensable(call.parameters):
            return name
    return None


def _deltas(response: httpx2.Response, patience: Patience) -> Iterator[Delta]:
    halves, ended = jsontext.Halves(), False
    try:
        body = Body(response, patience)
        for chunk in _chunks(body, response):
            delta = delta_of(chunk)
            text = halves.join(delta.text)
            if delta.response:
                ended = True
                patience.shorten(LAST_WORDS)
            elif text.strip() or reasons_on(chunk):
                patience.renew()
            if text or delta.usage or delta.response:
                yield delta if text is delta.text else replace(delta, text=text)
        ended = True
    except httpx2.HTTPError:
        if not ended:  # else all of it came
            raise
    except _CutShort as cut:
        if not ended:
            call_id = response.headers.get("x-request-id", "")
            error = ModelUnavailable("The model server's answer was cut short.", request_id=call_id)
            raise Failure(error, again=True) from cut
    if rest := halves.end():
        yield Delta(rest)
    body.drain()


class _CutShort(Exception):
    """A stream ended without ``[DONE]``."""


def _chunks(body: Body, response: httpx2.Response) -> Iterator[Mapping[str, Any]]:
    """The chunks of a stream; of an answer that came whole, as errors do, the one it is."""
    try:
        if body.is_json:
            completion = body.json()
            _raise_error_in(completion, response)
            if "choices" not in completion:
                raise jsontext.NotJson("it is no chat completion")
            yield completion
            return
        for data in body.events():
            if data.strip() == b"[DONE]":
                return
            chunk = _error(data) if isinstance(data, ErrorEvent) else json_object(data)
            _raise_error_in(chunk, response)
            yield chunk
    except HtmlAnswer:
        raise failures.of_html(response) from None
    raise _CutShort


def _error(data: bytes) -> dict[str, Any]:
    """An event that is an error by its name, whatever its data are."""
    try:
        told = json_object(data)
    except ValueError:
        told = {"message": data.decode(errors="replace")}
    return {"error": told.get("error") or told}


def _provider(base_url: str) -> str:
    """The server, by its address; of an unknown address a server of OpenAI's protocol."""
    host = urlsplit(base_url).hostname or ""
    return next((name for known, name in _PROVIDERS.items() if host.endswith(known)), "openai")


def _failure_of(error: Exception) -> Failure:
    """The failure an error of the openai package (or of what is below it) is."""
    if isinstance(error, openai.APIStatusError):
        return _of_status(error)
    if isinstance(error, openai.APIConnectionError):
        error = _below(error)
    if isinstance(error, failures.FOREIGN):
        return failures.of_transport(error)
    return Failure(ModelUnavailable("The model server's answer cannot be read."))


def _below(error: openai.APIConnectionError) -> Exception:
    if isinstance(error.__cause__, failures.FOREIGN):
        return error.__cause__
    return httpx2.ReadTimeout("") if isinstance(error, openai.APITimeoutError) else httpx2.ReadError("")


def _of_status(error: openai.APIStatusError) -> Failure:
    text, code = _said(error.body)
    headers = error.response.headers
    if error.status_code == 429 and code == "insufficient_quota":
        # OpenAI's "no money left" has the status of "too fast", but waiting does not help.
        return Failure(ModelRejected("The quota of the model server's key is used up.", code=code))
    return failures.of_status(
        error.status_code,
        code=code,
        text=text or error.response.reason_phrase,
        request_id=headers.get("x-request-id", ""),
        after=failures.retry_after(headers),
        response=error.response,
    )


def _raise_error_in(chunk: Mapping[str, Any], response: httpx2.Response) -> None:
    """:raises Failure: *chunk*, though its status is 200, tells an error.

    Servers put a status, or a word, into its code.
    """
    told = chunk.get("error")
    if not told and ("choices" in chunk or not any(chunk.get(name) for name in _ERROR_TEXTS)):
        return
    text, code = _said(chunk)
    status = int(code) if code.isascii() and code.isdigit() and 400 <= int(code) < 600 else 0
    if not status:
        words = f"{code} {told.get('type') if isinstance(told, dict) else chunk.get('type')}"
        status = 429 if "rate_limit" in words else 400 if "invalid_request" in words else 500
    raise failures.of_status(
        status, code=code, text=text, request_id=response.headers.get("x-request-id", "")
    )


def _said(body: object) -> tuple[str, str]:
    if not isinstance(body, dict):
        return "", ""
    told = body.get("error")
    members = cast("dict[str, Any]", told if isinstance(told, dict) else body)
    text = told if isinstance(told, str) else next(filter(None, map(members.get, _ERROR_TEXTS)), "")
    return text if isinstance(text, str) else "", str(members.get("code") or "")[:100]


# ValueError: an event is not JSON or not UTF-8.
_READER = Reader((*failures.FOREIGN, openai.OpenAIError, ValueError), _failure_of)
