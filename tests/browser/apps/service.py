"""A service with the chat page and the admin page; COMPONENT, DATABASE, PORT and STAGE as for a page."""

from __future__ import annotations

import os

from appbuilder.runtime.service_runtime import ServiceRuntime
from tests.browser.apps.page import COMPONENTS

if __name__ == "__main__":
    component = COMPONENTS[os.environ["COMPONENT"]]()
    ServiceRuntime(component, os.environ["DATABASE"]).serve("127.0.0.1", int(os.environ["PORT"]))
