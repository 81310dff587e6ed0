"""FlaskRuntime, under the SDK's name of its module."""

from appbuilder.runtime.flask_runtime import FlaskRuntime

__all__ = ["FlaskRuntime"]
