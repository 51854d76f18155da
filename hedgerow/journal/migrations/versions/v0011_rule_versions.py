"""Versions of rules and lists, so that a decision can be explained later by the rules in force then; the hosts of the
decisions, for searching.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    site = sa.Column("site", sa.String, nullable=False, server_default="home")
    op.create_table(
        "rule_versions",
        sa.Column("id", sa.Integer, primary_key=True),
        site,
        sa.Column("at", sa.Float, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("policy", "lists", "files", "sources")),
        sqlite_autoincrement=True,
    )
    op.add_column("decisions", sa.Column("version", sa.Integer))
    op.create_table(
        "hosts_seen",
        sa.Column("site", sa.String, primary_key=True, nullable=False, server_default="home"),
        sa.Column("host_key", sa.String, primary_key=True),
        sa.Column("host", sa.String, nullable=False),
    )
    _add_hosts(op.get_bind())


def _add_hosts(connection: sa.Connection) -> None:
    """Add the hosts of all decisions, which the index holds in order."""
    hosts = connection.exec_driver_sql("SELECT DISTINCT site, host_key FROM decisions WHERE host_key != ''").yield_per(
        1000
    )
    for part in hosts.partitions():
        rows = [(site, key, ".".join(reversed(key.split(".")))) for site, key in part]
        connection.exec_driver_sql("INSERT INTO hosts_seen (site, host_key, host) VALUES (?, ?, ?)", rows)


def downgrade() -> None:
    op.drop_table("hosts_seen")
    op.drop_column("decisions", "version")
    op.drop_table("rule_versions")
