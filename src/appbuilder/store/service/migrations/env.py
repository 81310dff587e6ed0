"""Alembic runs this file. The caller has begun the transaction, and ends it."""

from __future__ import annotations

from alembic import context

from appbuilder.store.service.schema import VERSIONS

context.configure(connection=context.config.attributes["connection"], version_table=VERSIONS)
with context.begin_transaction():
    context.run_migrations()
