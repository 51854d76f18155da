"""The end of a token's validity."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tokens", sa.Column("expires_at", sa.Float))


def downgrade() -> None:
    op.drop_column("tokens", "expires_at")
