"""The last code of each account's authenticator app, and rights of sites' roles to columns only."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("accounts", sa.Column("totp_step", _NUMBER, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("accounts", "totp_step")
