"""Standard names: the `actor` of a change (was `giver`), `sessions` at seats (were `sittings`), and `web_sessions`
(were `sessions`).
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_WITH_ACTOR = ("grants", "pauses", "policy_changes", "tokens", "bonuses", "sessions", "codes", "vouchers")


def upgrade() -> None:
    _rename_table("sessions", "web_sessions")
    _rename_table("sittings", "sessions")
    for table in _WITH_ACTOR:
        op.alter_column(table, "giver", new_column_name="actor")


def downgrade() -> None:
    for table in _WITH_ACTOR:
        op.alter_column(table, "actor", new_column_name="giver")
    _rename_table("sessions", "sittings")
    _rename_table("web_sessions", "sessions")


def _rename_table(old: str, new: str) -> None:
    op.rename_table(old, new)
    if op.get_bind().dialect.name == "postgresql":  # where an index keeps the name of the table it was made for
        op.execute(f"ALTER INDEX {old}_pkey RENAME TO {new}_pkey")
