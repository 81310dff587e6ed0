"""The admin page: a look into everybody's sessions, live runs and keys."""

from appbuilder.serve.admin.views import routes

__all__ = ["routes"]
