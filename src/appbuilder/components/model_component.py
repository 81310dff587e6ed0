"""What components that ask one model share."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from appbuilder.core.component import Component, ComponentArguments
from appbuilder.core.context import current_context
from appbuilder.core.foreign_messages import reason_of
from appbuilder.core.message import AnswerMessage
from appbuilder.errors import InvalidRequest, ModelUnavailable
from appbuilder.ids import new_id
from appbuilder.models.base import Delta, ModelCall, ModelParameters, ModelStream
from appbuilder.models.registry import call_model
from appbuilder.settings import Settings

LONGEST_TIMEOUT = 3600
"""Seconds; a time-out may come straight from a request, and no request may wait for ever."""

LONGEST_ANSWER = 8 * 1024 * 1024
"""Characters; a model that says more has lost its way."""


_LAST = 30
"""Characters, and pieces, by which the end of an answer is known again."""


class Trim:
    """Changes an answer's text while it passes. This one changes nothing."""

    def feed(self, text: str) -> str:
        """What may be said after *text* came in."""
        return text

    def end(self) -> str:
        """What is left to say when the answer ended."""
        return ""


class ModelComponent(Component):
    """A component that asks the model *model*. To make one needs no credential and no network.

    :param model: see :mod:`appbuilder.models.registry`; the others are :class:`Component`'s.
    """

    name: ClassVar[str] = ""
    version: ClassVar[str] = "v1"

    def __init__(
        self,
        model: str | None = None,
        secret_key: str | None = None,
        gateway: str = "",
        lazy_certification: bool = False,
        **_sdk_only: Any,
    ) -> None:
        super().__init__(
            meta=ComponentArguments(name=self.name),
            secret_key=secret_key,
            gateway=gateway,
            lazy_certification=lazy_certification,
        )
        self.model_name = model or ""

    def _ask(
        self,
        inputs: Mapping[str, str],
        messages: list[dict[str, str]],
        parameters: ModelParameters,
        *,
        stream: bool,
        settings: Settings,
        trim: Trim | None = None,
        request_id: str | None = None,
        timeout: Any = None,
    ) -> AnswerMessage[Any]:
        context = current_context()
        call = ModelCall(
            service=self.name,
            inputs=inputs,
            messages=messages,
            parameters=parameters,
            stream=stream,
            credential=self.credential,
            callers_credential=self.lazy_certification and context is not None and context.in_runtime,
            gateway=self.gateway,
            request_id=request_id,
            timeout=checked_timeout(timeout),
        )
        deltas = call_model(self.model_name, call, settings)
        answer: AnswerMessage[Any] = AnswerMessage(id=deltas.id or new_id())
        pieces = _Pieces(deltas, answer, trim or Trim())
        answer.content = pieces if stream else "".join(pieces)
        return answer


class _Pieces(Iterator[str]):
    """An answer's pieces of text; fills *answer*'s usage and extra on the way. Empty pieces are left out."""

    def __init__(self, deltas: ModelStream, answer: AnswerMessage[Any], trim: Trim) -> None:
        self._deltas = deltas
        self._answer = answer
        self._trim = trim
        self._ended = False
        self._length = 0
        self._last: deque[str] = deque(maxlen=_LAST)

    def __next__(self) -> str:
        while not self._ended:
            self._ended = True  # so that nothing follows an error
            delta = next(self._deltas, None)
            self._ended = delta is None
            text = self._trim.end() if delta is None else self._take(delta)
            if text:
                self._last.append(text)
            if self._ended:
                self._note_end()
            if text:
                return text
        raise StopIteration

    def close(self) -> None:
        """Breaks the answer off."""
        self._ended = True
        self._deltas.close()

    def _note_end(self) -> None:
        """Leaves word of an answer that is not whole for a component that hands on its text alone."""
        context, reason = current_context(), self._answer.extra.get("finish_reason")
        if context is not None:
            last = "".join(self._last).rstrip()[-_LAST:]
            context.cut = (reason, last) if reason and last else None

    def _take(self, delta: Delta) -> str:
        if delta.usage:
            self._answer.token_usage = dict(delta.usage)
        if delta.extra:
            self._answer.extra = {**self._answer.extra, **delta.extra}
        for word in delta.response.get("finish_reasons", ()):
            if reason := reason_of(word):
                self._answer.extra = {**self._answer.extra, "finish_reason": reason[:100]}
        self._length += len(delta.text)
        if self._length > LONGEST_ANSWER:
            self._deltas.close()
            raise ModelUnavailable("The model's answer is longer than 8 MiB.")
        return self._trim.feed(delta.text) if delta.text else ""



def checked_parameters(
    *,
    temperature: Any,
    top_p: Any,
    max_output_tokens: Any = 1024,
    disable_search: Any = True,
    response_format: Any = "text",
    stop: Any = (),
    further: Mapping[str, Any] | None = None,
) -> ModelParameters:
    """The parameters of a call, which may come straight from a request.

    :raises InvalidRequest: one has the wrong type or is out of range; the text names it.
    """
    _require(_number(temperature) and 0 <= temperature <= 2, "temperature must be a number from 0 to 2")
    _require(_number(top_p) and 0 <= top_p <= 1, "top_p must be a number from 0 to 1")
    _require(
        _number(max_output_tokens) and max_output_tokens >= 1 and max_output_tokens == int(max_output_tokens),
        "max_output_tokens must be a whole number of 1 or more",
    )
    _require(isinstance(disable_search, bool), "disable_search must be true or false")
    _require(isinstance(response_format, str), "response_format must be a text")
    _require(
        isinstance(stop, (list, tuple)) and len(stop) <= 4 and all(isinstance(text, str) for text in stop),
        "stop must be a list of at most 4 texts",
    )
    return ModelParameters(
        temperature=float(temperature),
        top_p=float(top_p),
        max_output_tokens=int(max_output_tokens),
        disable_search=disable_search,
        response_format=response_format,
        stop=tuple(stop),
        further=further or {},
    )


def checked_timeout(timeout: Any) -> float | tuple[float, float] | None:
    """The time-out of a call, as ``requests`` takes it: seconds, or (to connect, of silence).

    :raises InvalidRequest: it is something else.
    """
    if timeout is None or _seconds(timeout):
        return timeout  # type: ignore[no-any-return]
    if isinstance(timeout, (list, tuple)) and len(timeout) == 2 and all(map(_seconds, timeout)):
        return float(timeout[0]), float(timeout[1])
    raise InvalidRequest(
        f"timeout must be a number of seconds up to {LONGEST_TIMEOUT}, or two (to connect, of silence)."
    )


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value  # noqa: PLR0124


def _seconds(value: Any) -> bool:
    return _number(value) and 0 < value <= LONGEST_TIMEOUT


def _require(fits: bool, text: str) -> None:
    if not fits:
        raise InvalidRequest(f"{text}.")


__all__ = ["ModelComponent", "Trim", "checked_parameters"]
