"""Tokens: as a component's answer tells them, and as OpenAI's two APIs do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer."""

    prompt: int = 0
    completion: int = 0
    total: int = 0

    def for_chat(self) -> dict[str, Any]:
        """As chat completions tell it."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.total,
        }

    def for_responses(self) -> dict[str, Any]:
        """As responses tell it."""
        return {
            "input_tokens": self.prompt,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": self.completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.total,
        }


def usage_of(told: Any) -> Usage | None:
    """What an answer's ``token_usage`` says; None: nothing."""
    if not isinstance(told, Mapping):
        return None
    prompt, completion = _count(told.get("prompt_tokens")), _count(told.get("completion_tokens"))
    total = _count(told.get("total_tokens")) or prompt + completion
    return Usage(prompt, completion, total) if total else None


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
