"""The list of models: the service's component, and no other."""

from __future__ import annotations

from typing import Any


def model(name: str, created: int) -> dict[str, Any]:
    """The component as a model.

    :param created: seconds since 1970.
    """
    return {"id": name, "object": "model", "created": created, "owned_by": "appbuilder"}


def model_list(name: str, created: int) -> dict[str, Any]:
    """All models."""
    return {"object": "list", "data": [model(name, created)]}
