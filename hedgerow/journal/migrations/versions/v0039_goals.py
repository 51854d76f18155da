"""Goals that people have set themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "goals",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("site", _TEXT, nullable=False, server_default="home"),
        *(sa.Column(name, _TEXT, nullable=False) for name in ("person", "subject")),
        sa.Column("at", sa.Float, nullable=False),
        *(sa.Column(name, _NUMBER, nullable=False) for name in ("minutes", "starts", "ends")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("goals")
