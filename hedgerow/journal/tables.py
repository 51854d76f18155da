"""The journal's tables, in SQLAlchemy Core. The migrations create them; this module describes them.

Instants are seconds since the epoch, UTC. An integer `id` grows with each row written, even if the clock goes back, so pages go by it.
`site` names the network that a row belongs to. Accounts, sessions and tokens belong to all sites.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table

DEFAULT_SITE = "home"
"""The site of a journal that holds only one."""

metadata = MetaData()


def _site(*, primary_key: bool = False) -> Column[str]:
    return Column("site", String, primary_key=primary_key, nullable=False, server_default=DEFAULT_SITE)


def _text(*names: str) -> list[Column[str]]:
    return [Column(name, String, nullable=False) for name in names]


def _optional_text(*names: str) -> list[Column[str]]:
    return [Column(name, String) for name in names]


def _instant(*names: str) -> list[Column[float]]:
    return [Column(name, Float, nullable=False) for name in names]


def _optional_instant(*names: str) -> list[Column[float]]:
    return [Column(name, Float) for name in names]


def _number(*names: str) -> list[Column[int]]:
    return [Column(name, Integer, nullable=False) for name in names]


def _key(*names: str) -> list[Column[str]]:
    return [Column(name, String, primary_key=True) for name in names]


def _log(name: str, *items: Any) -> Table:
    """A table whose rows are numbered in the order in which they are written; no number is used twice."""
    return Table(name, metadata, Column("id", Integer, primary_key=True), _site(), *items, sqlite_autoincrement=True)


def _sums(name: str, period: str) -> Table:
    """Decisions counted per hour or day, numbered from the epoch."""
    period_column = Column(period, Integer, primary_key=True)
    return Table(name, metadata, _site(primary_key=True), period_column, *_key("device", "verdict", "reason", "what"), *_number("count"))


decisions = _log(
    "decisions",
    *_instant("at"),
    *_text("device"),
    *_optional_text("person"),
    *_text("profile", "kind", "verdict", "reason", "what", "url", "rule"),
    *_number("count"),
    *_text("host_key"),  # the host's labels reversed, so that a domain is one range of the index
    Index("decisions_at", "at"),
    Index("decisions_device", "device", "id"),
    Index("decisions_verdict", "verdict", "id"),
    Index("decisions_host", "host_key", "id", "device", "verdict"),  # the last two save reading the rows
)

hourly = _sums("hourly", "hour")
daily = _sums("daily", "day")  # 24 hours of `hourly`, so days of UTC

devices_seen = Table(
    "devices_seen",
    metadata,
    _site(primary_key=True),
    *_key("device"),
    *_text("address"),
    *_optional_text("mac"),
    *_text("name"),
    *_optional_text("person"),
    *_text("profile"),
    *_instant("first_seen", "last_seen"),
)

access_requests = _log(
    "access_requests",
    *_instant("at", "last_at"),
    *_number("asked"),  # requests by the same device for the same host while this one was open
    *_text("device"),
    *_optional_text("person"),
    *_text("host", "url", "reason", "note", "state"),
    *_optional_instant("answered_at"),
    *_optional_text("answered_by", "grant_id"),
    Index("access_requests_state", "state", "id"),
)

grants = Table(
    "grants",
    metadata,
    *_key("id"),
    _site(),
    *_text("subject", "giver"),
    *_instant("starts"),
    *_optional_instant("ends"),
    *_optional_text("device", "person"),
    *_text("note"),
    *_optional_instant("revoked_at"),
    *_optional_text("revoked_by"),
    Index("grants_ends", "ends"),
)

pauses = Table(
    "pauses",
    metadata,
    *_key("id"),
    _site(),
    *_optional_text("device", "person"),  # both null: everybody
    *_text("giver"),
    *_instant("starts"),
    *_optional_instant("ends"),
    *_text("note"),
    *_optional_instant("ended_at"),
    *_optional_text("ended_by"),
)

events = _log("events", *_instant("at"), *_text("kind", "subject", "detail"), Index("events_kind", "kind", "id"))

accounts = Table(
    "accounts",
    metadata,
    *_key("name"),
    *_text("role"),
    *_text("password"),  # an argon2 hash
    *_text("totp"),  # the shared secret of the second factor, empty without one
    *_text("recovery"),  # hashes of one-time recovery codes
    *_instant("created_at"),
)

sessions = Table(
    "sessions",
    metadata,
    *_key("id"),  # a hash of the cookie's value
    *_text("account", "address", "agent"),
    *_instant("created_at", "seen_at"),
)

tokens = Table("tokens", metadata, *_key("id"), *_text("name", "scopes", "giver"), *_instant("created_at"))  # id: a hash of the token

policy_changes = _log(
    "policy_changes",
    *_instant("at"),
    *_text("giver", "summary"),
    *_text("before", "after"),  # JSON: the whole texts of the files that changed, so that undoing needs nothing else
    *_optional_instant("undone_at"),
)

usage = Table(
    "usage",
    metadata,
    _site(primary_key=True),
    *_key("account"),  # person:NAME or device:ID
    *_key("subject"),  # empty for all use, else category:NAME or service:NAME
    Column("hour", Integer, primary_key=True),  # hours since the epoch
    Column("minutes", BigInteger, nullable=False),  # bit n: minute n was used, so a minute reported twice counts once
    Index("usage_hour", "site", "hour"),
)

bonuses = Table("bonuses", metadata, *_key("id"), _site(), *_text("account", "subject", "giver"), *_number("minutes"), *_instant("at"))

sittings = Table(
    "sittings",
    metadata,
    *_key("id"),
    _site(),
    *_text("device", "giver", "name"),
    *_optional_text("person", "profile"),
    *_instant("starts"),
    *_optional_instant("ends"),
    *_optional_instant("accepted"),  # the guest accepted the code of conduct
)

codes = Table(
    "codes",
    metadata,
    *_key("id"),
    _site(),
    *_text("digest"),  # of the digits, which cannot be read back
    *_optional_text("device", "person"),  # one of them: where the code may be typed
    *_text("subject"),  # what it opens, or with `minutes` what they are for
    *_text("how_long"),  # hour, today or good; empty with minutes
    *_number("minutes"),  # on top of a budget; 0 if it opens something
    Column("request_id", Integer),  # the request that it answers
    *_text("giver"),
    *_instant("made_at", "expires"),
    *_optional_instant("used_at"),
)

vouchers = Table(
    "vouchers",
    metadata,
    *_key("digest"),  # of the code, which cannot be read back
    _site(),
    *_text("band"),  # child or adult
    *_number("minutes"),
    *_text("giver"),
    *_instant("made_at", "expires"),
    *_optional_instant("used_at"),
)

notices = _log(
    "notices",
    *_instant("at"),
    *_text("receiver", "topic"),
    *_text("key"),  # the notice's subject: another one with the same key adds to `count`
    *_text("text"),
    *_number("count"),
    *_text("state"),  # waiting, sent, or given up
    *_number("tries"),
    *_instant("next_at"),  # not tried again before
    *_optional_instant("sent_at"),
    *_text("problem"),
    Index("notices_receiver", "receiver", "state", "id"),
    Index("notices_key", "receiver", "topic", "key", "id"),
)


def reversed_labels(host: str) -> str:
    """Return a host as the journal stores it. The function is its own inverse.

    >>> reversed_labels("www.example.org")
    'org.example.www'
    """
    return ".".join(reversed(host.split(".")))
