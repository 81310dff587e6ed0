"""The models a credential may use on an AppBuilder gateway, and where each is served."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from appbuilder import clock
from appbuilder.errors import AppBuilderError, ModelRejected, TurnCancelled, Unauthenticated
from appbuilder.logs import logger

SHORT_NAMES = {
    "eb-4": "ERNIE-Bot 4.0",
    "eb": "ERNIE-Bot",
    "eb-turbo": "ERNIE-Bot-turbo",
    "eb-turbo-appbuilder": "EB-turbo-AppBuilder专用版",
    "ernie_speed_appbuilder": "EB-turbo-AppBuilder专用版",
}
"""What the AppBuilder SDK 1.1.5 lets programs write for a model's full name."""

FRESH_FOR = 3600.0
"""Seconds a list is used before it is fetched again; the SDK's own figure."""

_ASK_AGAIN_AFTER = 60.0
_MOST_LISTS = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """One model: the address the gateway wants in a call, and its kind (``"chat"``...)."""

    url: str
    kind: str


@dataclass(slots=True)
class _List:
    models: Mapping[str, Entry]
    fetched: float
    due: float


class Catalog:
    """Model lists by gateway and credential; at most 256, the longest unused goes first.

    A list that is due is fetched again by the one call that notices; the others go on with the old one, and
    so does everyone when that fetch fails.
    """

    def __init__(self) -> None:
        self._lists: OrderedDict[bytes, _List] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, gateway: str, token: str, name: str, fetch: Callable[[], Any]) -> Entry:
        """Where the model *name* (full or short) is served.

        :param fetch: gets the list's JSON from the gateway.
        :raises ModelRejected: there is no such chat model for this credential; the text lists those that are.
        """
        full = SHORT_NAMES.get(name, name)
        key = hashlib.sha256(f"{gateway}\n{token}".encode()).digest()
        models = self._models(key, fetch, missing=full)
        entry = models.get(full)
        if entry is None:
            raise ModelRejected(
                f"There is no model {name!r} for this credential. {_offer(models)}", code="NoSuchModel"
            )
        if entry.kind not in ("", "chat"):
            raise ModelRejected(
                f"The model {name!r} is for {entry.kind}, not for chat. {_offer(models)}",
                code="NotAChatModel",
            )
        return entry

    def _models(self, key: bytes, fetch: Callable[[], Any], missing: str) -> Mapping[str, Entry]:
        now = clock.monotonic()
        with self._lock:
            known = self._lists.get(key)
            if known is not None:
                self._lists.move_to_end(key)
                # A model may have been opened for this credential since.
                unknown = missing not in known.models and now >= known.fetched + _ASK_AGAIN_AFTER
                if now < known.due and not unknown:
                    return known.models
                known.due = known.fetched = now + _ASK_AGAIN_AFTER
        try:
            models = _entries(fetch())
        except TurnCancelled:
            raise
        except AppBuilderError as error:
            if known is None or isinstance(error, (ModelRejected, Unauthenticated)):
                raise
            logger.warning(
                "the gateway's model list cannot be fetched (%s); using the last one", type(error).__name__
            )
            return known.models
        with self._lock:
            self._lists[key] = _List(models, now, now + FRESH_FOR)
            while len(self._lists) > _MOST_LISTS:
                self._lists.popitem(last=False)
        return models


def _entries(data: Any) -> dict[str, Entry]:
    result = data.get("result") if isinstance(data, dict) else None
    if not isinstance(result, dict):
        raise ModelRejected("The gateway's model list cannot be read.", code="BadModelList")
    models: dict[str, Entry] = {}
    for model in [*(result.get("common") or ()), *(result.get("custom") or ())]:
        if isinstance(model, dict) and isinstance(model.get("name"), str):
            entry = Entry(str(model.get("url") or ""), str(model.get("apiType") or ""))
            models.setdefault(model["name"], entry)
    return models


def _offer(models: Mapping[str, Entry]) -> str:
    names = [name for name, entry in models.items() if entry.kind in ("", "chat")]
    return f"Available: {', '.join(names)}." if names else "It may use none."
