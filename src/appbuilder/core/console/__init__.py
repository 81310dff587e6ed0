"""The places where the AppBuilder SDK has what belongs to applications in the cloud."""

from appbuilder.components.app_client.apps import describe_app, describe_apps, get_app_list
from appbuilder.components.app_client.client import AppBuilderClient

__all__ = ["AppBuilderClient", "describe_app", "describe_apps", "get_app_list"]
