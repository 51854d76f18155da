"""Groups of sites, what sites report, and versions of a policy that are for some sites only."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("policy_versions", sa.Column("sites", _TEXT))
    op.create_table(
        "site_groups",
        sa.Column("site", _TEXT, primary_key=True, nullable=False, server_default="home"),
        sa.Column("group_name", _TEXT, nullable=False),
    )
    op.create_table(
        "site_status",
        sa.Column("site", _TEXT, primary_key=True, nullable=False, server_default="home"),
        sa.Column("node", _TEXT, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
    )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP POLICY IF EXISTS levels_above ON policy_versions")
    op.drop_table("site_status")
    op.drop_table("site_groups")
    op.drop_column("policy_versions", "sites")
