"""Alembic's entry: run by `state.db.migrate` on a connection that it hands over."""

from alembic import context

from state.bookkeeping import metadata
from state.dialect import sort_by_letters

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
    sort_by_letters(connection)
connection.commit()
