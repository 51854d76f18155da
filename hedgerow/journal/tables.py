"""The journal's tables, in SQLAlchemy Core. The migrations make them; this module only describes them.

Instants are seconds since the epoch, UTC. `id` grows with each row written, whatever the clock does, so pages go by it.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table

metadata = MetaData()

decisions = Table(
    "decisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("device", String, nullable=False),
    Column("person", String),
    Column("profile", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("verdict", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("what", String, nullable=False),
    Column("url", String, nullable=False),
    Column("rule", String, nullable=False),
    Column("count", Integer, nullable=False),
    Column("host_key", String, nullable=False),  # the host's labels reversed: all of a domain is one range of the index
    Index("decisions_at", "at"),
    Index("decisions_device", "device", "id"),
    Index("decisions_verdict", "verdict", "id"),
    Index("decisions_host", "host_key", "id", "device", "verdict"),  # the last two so that a filter by them need not read the rows
    sqlite_autoincrement=True,
)

hourly = Table(
    "hourly",
    metadata,
    Column("hour", Integer, primary_key=True),  # hours since the epoch
    Column("device", String, primary_key=True),
    Column("verdict", String, primary_key=True),
    Column("reason", String, primary_key=True),
    Column("what", String, primary_key=True),
    Column("count", Integer, nullable=False),
)

daily = Table(
    "daily",
    metadata,
    Column("day", Integer, primary_key=True),  # 24 hours of `hourly`, so days of UTC since the epoch
    Column("device", String, primary_key=True),
    Column("verdict", String, primary_key=True),
    Column("reason", String, primary_key=True),
    Column("what", String, primary_key=True),
    Column("count", Integer, nullable=False),
)

devices_seen = Table(
    "devices_seen",
    metadata,
    Column("device", String, primary_key=True),
    Column("address", String, nullable=False),
    Column("mac", String),
    Column("name", String, nullable=False),
    Column("person", String),
    Column("profile", String, nullable=False),
    Column("first_seen", Float, nullable=False),
    Column("last_seen", Float, nullable=False),
)

access_requests = Table(
    "access_requests",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
    Column("asked", Integer, nullable=False),  # how often the same device asked for the same host while this was open
    Column("device", String, nullable=False),
    Column("person", String),
    Column("host", String, nullable=False),
    Column("url", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("note", String, nullable=False),
    Column("state", String, nullable=False),
    Column("answered_at", Float),
    Column("answered_by", String),
    Column("grant_id", String),
    Index("access_requests_state", "state", "id"),
    sqlite_autoincrement=True,
)

grants = Table(
    "grants",
    metadata,
    Column("id", String, primary_key=True),
    Column("subject", String, nullable=False),
    Column("giver", String, nullable=False),
    Column("starts", Float, nullable=False),
    Column("ends", Float),
    Column("device", String),
    Column("person", String),
    Column("note", String, nullable=False),
    Column("revoked_at", Float),
    Column("revoked_by", String),
    Index("grants_ends", "ends"),
)

pauses = Table(
    "pauses",
    metadata,
    Column("id", String, primary_key=True),
    Column("device", String),  # device and person both null: everybody
    Column("person", String),
    Column("giver", String, nullable=False),
    Column("starts", Float, nullable=False),
    Column("ends", Float),
    Column("note", String, nullable=False),
    Column("ended_at", Float),
    Column("ended_by", String),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", String, nullable=False),
    Index("events_kind", "kind", "id"),
    sqlite_autoincrement=True,
)

accounts = Table(
    "accounts",
    metadata,
    Column("name", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("password", String, nullable=False),  # as argon2 writes it, never the password
    Column("totp", String, nullable=False),  # the shared secret of the second factor, empty without one
    Column("recovery", String, nullable=False),  # hashes of codes that stand in for it once
    Column("created_at", Float, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String, primary_key=True),  # a hash of what the cookie holds
    Column("account", String, nullable=False),
    Column("address", String, nullable=False),
    Column("agent", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String, primary_key=True),  # a hash of the token
    Column("name", String, nullable=False),
    Column("scopes", String, nullable=False),
    Column("giver", String, nullable=False),
    Column("created_at", Float, nullable=False),
)

policy_changes = Table(
    "policy_changes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("giver", String, nullable=False),
    Column("summary", String, nullable=False),
    Column("before", String, nullable=False),  # JSON: the whole texts of the files that changed, so that undoing needs nothing else
    Column("after", String, nullable=False),
    Column("undone_at", Float),
    sqlite_autoincrement=True,
)

usage = Table(
    "usage",
    metadata,
    Column("account", String, primary_key=True),  # person:NAME or device:ID
    Column("subject", String, primary_key=True),  # empty for all use, else category:NAME or service:NAME
    Column("hour", Integer, primary_key=True),  # hours since the epoch
    Column("minutes", BigInteger, nullable=False),  # bit n: its minute n was used; so a minute told twice counts once
    Index("usage_hour", "hour"),
)

bonuses = Table(
    "bonuses",
    metadata,
    Column("id", String, primary_key=True),
    Column("account", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("giver", String, nullable=False),
    Column("minutes", Integer, nullable=False),
    Column("at", Float, nullable=False),
)

sittings = Table(
    "sittings",
    metadata,
    Column("id", String, primary_key=True),
    Column("device", String, nullable=False),
    Column("giver", String, nullable=False),
    Column("name", String, nullable=False),
    Column("person", String),
    Column("profile", String),
    Column("starts", Float, nullable=False),
    Column("ends", Float),
    Column("accepted", Float),  # when the guest accepted the code of conduct
)

codes = Table(
    "codes",
    metadata,
    Column("id", String, primary_key=True),
    Column("digest", String, nullable=False),  # of the digits, which nobody can read again
    Column("device", String),  # device or person: where it may be typed
    Column("person", String),
    Column("subject", String, nullable=False),  # what it opens; with minutes, what they are of
    Column("how_long", String, nullable=False),  # hour, today or good; empty with minutes
    Column("minutes", Integer, nullable=False),  # on top of a budget; 0 where it opens something
    Column("request_id", Integer),  # the request that it answers
    Column("giver", String, nullable=False),
    Column("made_at", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("used_at", Float),
)

vouchers = Table(
    "vouchers",
    metadata,
    Column("digest", String, primary_key=True),  # of the code, which nobody can read again
    Column("band", String, nullable=False),  # child or adult
    Column("minutes", Integer, nullable=False),
    Column("giver", String, nullable=False),
    Column("made_at", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("used_at", Float),
)

notices = Table(
    "notices",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("receiver", String, nullable=False),
    Column("topic", String, nullable=False),
    Column("key", String, nullable=False),  # what the notice is of: another one of the same adds to `count`
    Column("text", String, nullable=False),
    Column("count", Integer, nullable=False),
    Column("state", String, nullable=False),  # waiting, sent, or given up
    Column("tries", Integer, nullable=False),
    Column("next_at", Float, nullable=False),  # not tried again before
    Column("sent_at", Float),
    Column("problem", String, nullable=False),
    Index("notices_receiver", "receiver", "state", "id"),
    Index("notices_key", "receiver", "topic", "key", "id"),
    sqlite_autoincrement=True,
)
