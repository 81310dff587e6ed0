"""Fixtures of this ring: model servers as doubles, and a process that traces."""

from tests.models.server_fixtures import gateway, openai_server, quick  # noqa: F401
from tests.unit.tracing import spans  # noqa: F401
