"""The embedded model: weights by content, llama.cpp's own server in a process of this package, its API
over loopback.

The model's process is found or started at the first call, so after any fork; of all programs and worker
processes of a user that want the same model with the same parameters one process holds it, and when it dies
the next call starts another. :mod:`.local_server` says why it is a process, :mod:`.weights` which models.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec

from appbuilder.errors import ConfigurationError, ModelUnavailable
from appbuilder.logs import logger
from appbuilder.models.base import Delta, ModelCall, ModelStream, Server
from appbuilder.models.failures import Failure, with_retries
from appbuilder.models.local.client import Address, connect
from appbuilder.models.local.shared_state import Order
from appbuilder.models.network import current_token
from appbuilder.models.openai import OpenAIModel
from appbuilder.settings import Settings


def local_model(name: str, settings: Settings) -> LocalModel:
    """The local model *name*: an entry of the table of weights, a path, or empty for the setting's.

    Nothing is fetched or loaded yet.

    :raises ConfigurationError: there is no such model, or the extra ``local`` is not installed.
    """
    if find_spec("xllamacpp") is None:
        raise ConfigurationError(
            "The local model needs the engine xllamacpp: pip install 'appbuilder-runtime[local]'. "
            "Or use another model: APPBUILDER_MODEL=openai/<name>, or an AppBuilder name with "
            "APPBUILDER_TOKEN."
        )
    return LocalModel(Order.of(name or settings.local_model, settings), settings)


class LocalModel:
    """See :class:`appbuilder.models.base.Model`."""

    def __init__(self, order: Order, settings: Settings) -> None:
        self.server = Server("llama_cpp", os.path.basename(order.model))
        self._order = order
        self._settings = settings

    def warm(self) -> None:
        """Fetches and loads the model now, which the first call would do otherwise.

        :raises ModelError: it cannot be had, or the engine failed.
        :raises ConfigurationError: a setting is wrong.
        """
        self._connect()

    def open(self, call: ModelCall) -> ModelStream:
        return _Answer(self, call)

    def send(self, call: ModelCall) -> ModelStream:
        """One attempt; a model's process that died is replaced and asked again."""

        def attempt() -> ModelStream:
            client = _client(self._order.model, self._connect(), self._settings)
            try:
                return client.open(call)
            except ModelUnavailable as error:
                raise Failure(error, again=True) from error

        return with_retries(attempt, self._settings, current_token())

    def _connect(self) -> Address:
        return connect(self._order, self._settings.model_timeout)


class _Answer(Iterator[Delta]):
    """An answer; begun again if the model's process dies before any text of it came."""

    def __init__(self, model: LocalModel, call: ModelCall) -> None:
        self._model = model
        self._call = call
        self._stream = model.send(call)
        self._begun = False
        self.id = self._stream.id

    def __next__(self) -> Delta:
        try:
            delta = next(self._stream)
        except ModelUnavailable:
            if self._begun:
                raise
            self._begun = True  # one more attempt
            logger.info("The local model's process died before it answered; asking again.")
            self._stream = self._model.send(self._call)
            return next(self._stream)
        self._begun = self._begun or bool(delta.text)
        return delta

    def close(self) -> None:
        self._stream.close()


@functools.lru_cache(maxsize=16)
def _client(model: str, address: Address, settings: Settings) -> OpenAIModel:
    # Trying again is done above, where the next attempt may find another process.
    once = replace(settings, model_retries=0)
    return OpenAIModel(model, f"{address.url}/v1", address.key, once)
