"""The first tables: decisions, hourly counts, devices, requests, grants, pauses, events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _make_decisions()
    _make_devices()
    _make_requests_and_grants()
    _make_pauses_and_events()


def downgrade() -> None:
    for table in ("events", "pauses", "grants", "access_requests", "devices_seen", "hourly", "decisions"):
        op.drop_table(table)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String, nullable=False) for name in names]


def _make_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("device", sa.String, nullable=False),
        sa.Column("person", sa.String),
        *_texts("profile", "kind", "verdict", "reason", "what", "host", "url", "rule"),
        sa.Column("count", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("decisions_at", "decisions", ["at"])
    op.create_index("decisions_device", "decisions", ["device", "id"])
    op.create_index("decisions_verdict", "decisions", ["verdict", "id"])
    op.create_table(
        "hourly",
        sa.Column("hour", sa.Integer, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("verdict", sa.String, primary_key=True),
        sa.Column("reason", sa.String, primary_key=True),
        sa.Column("what", sa.String, primary_key=True),
        sa.Column("count", sa.Integer, nullable=False),
    )


def _make_devices() -> None:
    op.create_table(
        "devices_seen",
        sa.Column("device", sa.String, primary_key=True),
        *_texts("address", "name", "profile"),
        sa.Column("mac", sa.String),
        sa.Column("person", sa.String),
        sa.Column("first_seen", sa.Float, nullable=False),
        sa.Column("last_seen", sa.Float, nullable=False),
    )


def _make_requests_and_grants() -> None:
    op.create_table(
        "access_requests",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("last_at", sa.Float, nullable=False),
        sa.Column("asked", sa.Integer, nullable=False),
        sa.Column("person", sa.String),
        *_texts("device", "host", "url", "reason", "note", "state"),
        sa.Column("answered_at", sa.Float),
        sa.Column("answered_by", sa.String),
        sa.Column("grant_id", sa.String),
        sqlite_autoincrement=True,
    )
    op.create_index("access_requests_state", "access_requests", ["state", "id"])
    op.create_table(
        "grants",
        sa.Column("id", sa.String, primary_key=True),
        *_texts("subject", "giver", "note"),
        sa.Column("starts", sa.Float, nullable=False),
        sa.Column("ends", sa.Float),
        sa.Column("device", sa.String),
        sa.Column("person", sa.String),
        sa.Column("revoked_at", sa.Float),
        sa.Column("revoked_by", sa.String),
    )
    op.create_index("grants_ends", "grants", ["ends"])


def _make_pauses_and_events() -> None:
    op.create_table(
        "pauses",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("device", sa.String),
        sa.Column("person", sa.String),
        *_texts("giver", "note"),
        sa.Column("starts", sa.Float, nullable=False),
        sa.Column("ends", sa.Float),
        sa.Column("ended_at", sa.Float),
        sa.Column("ended_by", sa.String),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        *_texts("kind", "subject", "detail"),
        sqlite_autoincrement=True,
    )
    op.create_index("events_kind", "events", ["kind", "id"])
