"""UserSession, under the SDK's name of its module."""

from appbuilder.runtime.user_session import UserSession

__all__ = ["UserSession"]
