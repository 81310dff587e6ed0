"""Fixtures every ring may use."""

from tests.services.fixtures import database_url, mariadb, postgres  # noqa: F401
from tests.services.sdk import sdk_python  # noqa: F401
