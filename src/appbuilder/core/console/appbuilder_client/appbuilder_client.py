"""The client of an application and the lists of applications, where the AppBuilder SDK has them."""

from appbuilder.components.app_client import schemas as data_class
from appbuilder.components.app_client.apps import describe_app, describe_apps, get_all_apps, get_app_list
from appbuilder.components.app_client.client import AgentBuilder, AppBuilderClient

__all__ = [
    "AgentBuilder",
    "AppBuilderClient",
    "data_class",
    "describe_app",
    "describe_apps",
    "get_all_apps",
    "get_app_list",
]
