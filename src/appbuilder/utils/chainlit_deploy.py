"""ChainlitRuntime, under the SDK's name of its module."""

from appbuilder.runtime.chainlit_runtime import ChainlitRuntime
from appbuilder.serve.page.page_options import Page, Starter, TrustedHeader

__all__ = ["ChainlitRuntime", "Page", "Starter", "TrustedHeader"]
