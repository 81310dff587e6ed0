"""SessionMessage, under the SDK's name of its module."""

from appbuilder.runtime.session_message import Base, SessionMessage

__all__ = ["Base", "SessionMessage"]
