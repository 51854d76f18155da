"""The kind of a pause: everything, or what distracts from homework."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pauses", sa.Column("kind", sa.String, nullable=False, server_default="all"))


def downgrade() -> None:
    op.drop_column("pauses", "kind")
