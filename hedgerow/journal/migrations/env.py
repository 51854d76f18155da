"""What alembic runs: the migrations over the connection that `journal.store` passes in. There is no alembic.ini."""

from alembic import context

from hedgerow.journal.tables import metadata

connection = context.config.attributes["connection"]
# SQLite cannot alter most things in place; batch mode rebuilds the table instead.
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
