"""The time that has still to be seen passing before an announced profile. What was announced before counts as seen."""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

_COLUMNS = ("unseen", "seen_at")


def upgrade() -> None:
    for name in _COLUMNS:
        op.add_column("growing_up", sa.Column(name, sa.Float, nullable=False, server_default="0"))


def downgrade() -> None:
    for name in _COLUMNS:
        op.drop_column("growing_up", name)
