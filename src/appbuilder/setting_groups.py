"""Groups of settings, for the command line's help and the docs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, fields
from typing import Any

from appbuilder.settings import Settings

GROUPS: dict[str, tuple[str, ...]] = {
    "Service": ("host", "port", "database", "history", "page", "metrics", "workers"),
    "Chat page": ("page_name", "page_icon", "page_starters", "page_theme", "page_uploads", "page_secret"),
    "Authentication": (
        "auth", "auth_hook", "allow_anonymous", "administrators", "jwt_issuer", "jwt_audience", "jwt_jwks",
        "jwt_user", "hosts", "cors_origins",
    ),
    "Models": (
        "model", "token", "gateway_url", "gateway_url_v2", "openai_base_url", "openai_api_key",
        "connect_timeout", "model_timeout", "model_retries",
    ),
    "Local model": ("local_model", "cache_dir", "local_slots", "local_context", "local_threads"),
    "Turns": (
        "turn_timeout", "attempts", "retry_backoff", "on_disconnect", "session_busy", "session_queue",
        "session_wait", "first_piece_wait", "heartbeat", "drain_timeout",
    ),
    "Limits": (
        "rate", "turn_hook", "max_turns", "max_body", "max_values", "max_answer", "max_piece", "max_unread",
        "max_in_flight", "max_in_flight_caller", "max_connections", "body_timeout",
        "write_timeout", "page_bytes", "import_sessions", "import_lines", "bulk_requests", "bulk_per_caller",
        "db_pool", "db_timeout",
    ),
    "Logs": ("loglevel", "log_format", "log_texts", "access_log"),
    "FlaskRuntime": ("worker_class", "threads"),
}
"""Title -> names of settings, most used first: the order of the help and of the docs."""


def grouped() -> Iterator[tuple[str, list[Field[Any]]]]:
    """Each group with its settings."""
    known = {setting.name: setting for setting in fields(Settings)}
    for title, names in GROUPS.items():
        yield title, [known[name] for name in names]
