"""Daily statements of a café."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "statements",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("site", _TEXT, nullable=False, server_default="home"),
        sa.Column("number", _NUMBER, nullable=False),
        *(sa.Column(name, _TEXT, nullable=False) for name in ("digest", "previous", "body", "signature")),
        sa.Column("received_at", sa.Float, nullable=False),
        sa.Column("receipt", _TEXT),
        sa.UniqueConstraint("site", "number", name="statements_number"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("statements")
