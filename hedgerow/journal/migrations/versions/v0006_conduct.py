"""Acceptance of the code of conduct by a café's guest."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sittings", sa.Column("accepted", sa.Float))


def downgrade() -> None:
    op.drop_column("sittings", "accepted")
