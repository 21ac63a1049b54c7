"""Runs the changes on the connection that `migrating.py` hands over, in its transaction; Alembic loads this file."""

from __future__ import annotations

from alembic import context

from langrec.service.store import schema, store

# SQLite's DDL is part of its transaction as PostgreSQL's is: a migration that is cut off leaves the schema before it.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    version_table=store.version.name,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
