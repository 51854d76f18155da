"""Keys of the counter's entries, of which each is used once."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("counter_entries", sa.Column("key", _TEXT))
    op.create_index("counter_entries_key", "counter_entries", ["site", "key"], unique=True)


def downgrade() -> None:
    # Before, nothing was opened at a seat besides its session, and the counter can't read that.
    op.execute("DELETE FROM counter_entries WHERE action IN ('allow', 'allow-adult')")
    op.drop_index("counter_entries_key", "counter_entries")
    op.drop_column("counter_entries", "key")
