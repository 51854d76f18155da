"""The person and the device that a pause for everybody leaves alone."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pauses", sa.Column("spared_person", sa.String))
    op.add_column("pauses", sa.Column("spared_device", sa.String))


def downgrade() -> None:
    op.drop_column("pauses", "spared_device")
    op.drop_column("pauses", "spared_person")
