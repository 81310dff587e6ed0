"""The component that takes anything, as a service without a page on PORT."""

from __future__ import annotations

import os

from tests.process.apps.anything import Anything

from appbuilder.runtime.service_runtime import ServiceRuntime

if __name__ == "__main__":
    ServiceRuntime(Anything(), os.environ["DATABASE"]).serve(port=int(os.environ["PORT"]))
