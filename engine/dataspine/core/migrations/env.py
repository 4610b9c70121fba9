"""Run migrations on the connection that ``Database.migrate`` passes in."""

from alembic import context

connection = context.config.attributes["connection"]
# SQLite alters a table by copying it (batch mode).
context.configure(connection=connection, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
