"""Revisions of the tables that only the service has; run by :mod:`appbuilder.store.service.schema`."""
