"""Alembic's environment: runs the migrations over the connection that `journal.database` passes in.

There is no alembic.ini.
"""

from alembic import context

from hedgerow.journal.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
