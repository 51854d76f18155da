"""The journal's tables, in SQLAlchemy Core. A new journal gets them as they are here, an older one by
migrations.

Instants are seconds since the epoch, UTC. An integer `id` grows with each row written, even if the clock goes back, so
pages go by it. `site` names the network that a row belongs to. On PostgreSQL the decisions are partitioned by day
(`postgresql_schema`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, UniqueConstraint
from sqlalchemy.types import TypeEngine

from hedgerow.policies.text.addresses import DEFAULT_SITE

metadata = MetaData()

TEXT: TypeEngine[str] = String().with_variant(String(collation="C"), "postgresql")
"""Text in the order of its characters, which ranges of reversed host names rely on."""

NUMBER: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")
"""An integer of 64 bits. SQLite numbers rows by columns of the type INTEGER only, which has 64 bits there."""


def _site(*, primary_key: bool = False) -> Column[str]:
    return Column("site", TEXT, primary_key=primary_key, nullable=False, server_default=DEFAULT_SITE)


def _text(*names: str) -> list[Column[str]]:
    return [Column(name, TEXT, nullable=False) for name in names]


def _optional_text(*names: str) -> list[Column[str]]:
    return [Column(name, TEXT) for name in names]


def _instant(*names: str) -> list[Column[float]]:
    return [Column(name, Float, nullable=False) for name in names]


def _optional_instant(*names: str) -> list[Column[float]]:
    return [Column(name, Float) for name in names]


def _number(*names: str) -> list[Column[int]]:
    return [Column(name, NUMBER, nullable=False) for name in names]


def _key(*names: str) -> list[Column[str]]:
    return [Column(name, TEXT, primary_key=True) for name in names]


def _log(name: str, *items: Any) -> Table:
    """A table whose rows are numbered in the order in which they are written; no number is used twice."""
    return Table(name, metadata, Column("id", NUMBER, primary_key=True), _site(), *items, sqlite_autoincrement=True)


def _state(name: str, *items: Any) -> Table:
    return Table(name, metadata, *items)


def _sums(name: str, period: str) -> Table:
    """Decisions counted per hour or day, numbered from the epoch."""
    keys = [Column(period, NUMBER, primary_key=True, autoincrement=False), *_key("device", "verdict", "reason", "what")]
    return _state(name, _site(primary_key=True), *keys, *_number("count"))


decisions = _log(
    "decisions",
    *_instant("at"),
    *_text("device", "profile", "kind", "verdict", "reason", "what", "url", "rule"),
    # the host's labels reversed, so that a domain is one range of the index
    Column("host_key", TEXT, nullable=False, server_default=""),
    *_optional_text("person"),
    *_number("count"),
    Column("version", NUMBER),  # of `rule_versions`; NULL in rows from before there were versions
    Index("decisions_at", "at"),
    Index("decisions_device", "device", "id"),
    Index("decisions_verdict", "verdict", "id"),
    Index("decisions_host", "host_key", "id", "device", "verdict"),  # the last two save reading the rows
)
rule_versions = _log(
    "rule_versions",
    *_instant("at"),
    *_text("policy", "lists"),  # digests
    *_text("files", "sources"),  # JSON: the text of each policy file by its path; the lists
)
hosts_seen = _state(
    # each host with a decision, so that a search reads few rows
    "hosts_seen",
    _site(primary_key=True),
    *_key("host_key"),
    *_text("host"),
)
hourly = _sums("hourly", "hour")
daily = _sums("daily", "day")  # 24 hours of `hourly`, so days of UTC
devices_seen = _state(
    "devices_seen",
    _site(primary_key=True),
    *_key("device"),
    *_text("address", "name", "profile"),
    *_optional_text("mac", "person"),
    *_instant("first_seen", "last_seen"),
)
protections_seen = _state("protections_seen", _site(primary_key=True), *_key("device", "protection"), *_instant("at"))
access_requests = _log(
    "access_requests",
    *_instant("at", "last_at"),
    *_number("asked"),  # requests by the same device for the same host while this one was open
    *_text("device", "host", "url", "reason", "note", "state"),
    # that is done and waits for its minutes; `host` is empty then
    Column("chore", TEXT, nullable=False, server_default=""),
    Column("why", TEXT, nullable=False, server_default=""),  # it was denied, in the words of `answered_by`
    *_optional_text("person", "answered_by", "grant_id"),
    *_optional_instant("answered_at"),
    Index("access_requests_state", "state", "id"),
)
wishes = _log(
    # of children, for what opens no site; `minutes` more of a budget, or after the bedtime `base`
    "wishes",
    *_instant("at", "last_at"),
    *_number("asked", "minutes", "given"),
    *_text("person", "device", "kind", "subject", "note", "state", "why"),
    *_optional_instant("base", "answered_at"),
    *_optional_text("answered_by", "result"),  # result: the id of the minutes or of the grant
    Index("wishes_person", "site", "person", "id"),
    Index("wishes_state", "site", "state", "id"),
)
grants = _state(
    "grants",
    *_key("id"),
    _site(),
    *_text("subject", "actor", "note"),
    *_instant("starts"),
    *_optional_text("device", "person", "revoked_by"),
    *_optional_instant("ends", "revoked_at"),
    Index("grants_ends", "ends"),
)
pauses = _state(
    "pauses",
    *_key("id"),
    _site(),
    *_text("actor", "note"),
    *_instant("starts"),
    *_optional_text("device", "person", "ended_by"),  # neither device nor person: everybody
    *_optional_text("spared_person", "spared_device"),
    Column("kind", TEXT, nullable=False, server_default="all"),
    *_optional_instant("ends", "ended_at"),
)
events = _log("events", *_instant("at"), *_text("kind", "subject", "detail"), Index("events_kind", "kind", "id"))
accounts = _state(
    "accounts",
    _site(primary_key=True),
    *_key("name"),
    *_text("role"),
    *_instant("created_at"),
    *_text("password"),  # an argon2 hash
    *_text("totp"),  # the shared secret of the second factor, empty without one
    *_text("recovery"),  # hashes of one-time recovery codes
    # where somebody signs in who has no password here; else empty
    Column("subject", TEXT, nullable=False, server_default=""),
    Column("totp_step", NUMBER, nullable=False, server_default="0"),  # 30 s each since the epoch: of the last code
)
web_sessions = _state(
    "web_sessions",
    *_key("id"),
    _site(),  # the id is a hash of the cookie's value
    *_text("account", "address", "agent"),
    *_instant("created_at", "seen_at"),
    # what the device is known by on which the session began, each on a line
    Column("origin", TEXT, nullable=False, server_default=""),
)
tokens = _state(
    "tokens",
    *_key("id"),
    _site(),  # the id is a hash of the token
    *_text("name", "scopes", "actor"),
    *_instant("created_at"),
    *_optional_instant("expires_at", "used_at"),
    Column("used_from", TEXT, nullable=False, server_default=""),  # the address of the last use
)
policy_changes = _log(
    "policy_changes",
    *_instant("at"),
    *_text("actor", "summary"),
    *_text("before", "after"),  # JSON: the whole texts of the files that changed, so that undoing needs nothing else
    *_optional_instant("undone_at"),
)
policy_versions = _log(
    "policy_versions",
    *_instant("at"),
    *_text("actor", "summary", "node"),
    *_number("follows"),  # the version before, which no other one follows; 0 for the first
    *_text("files"),  # JSON: the text of each policy file by its name
    Column("sites", TEXT),  # JSON: the sites that a version of a level above them is for; NULL for all
    UniqueConstraint("site", "follows", name="policy_versions_follows"),
)
site_groups = _state("site_groups", _site(primary_key=True), *_text("group_name"))
site_status = _state(
    # JSON, as `organisation` describes it
    "site_status",
    _site(primary_key=True),
    *_key("node"),
    *_instant("at"),
    *_text("state"),
)
usage = _state(
    "usage",
    _site(primary_key=True),
    *_key("account"),  # person:NAME or device:ID
    *_key("subject"),  # empty for all use, else category:NAME or service:NAME
    Column("hour", NUMBER, primary_key=True, autoincrement=False),  # hours since the epoch
    Column("minutes", BigInteger, nullable=False),  # bit n: minute n was used, so a minute reported twice counts once
    Index("usage_hour", "site", "hour"),
)
bonuses = _state(
    "bonuses", *_key("id"), _site(), *_text("account", "subject", "actor"), *_number("minutes"), *_instant("at")
)
sessions = _state(
    "sessions",
    *_key("id"),
    _site(),
    *_text("device", "actor", "name"),
    *_optional_text("person", "profile"),
    *_instant("starts"),
    *_optional_instant("ends", "accepted"),  # accepted: the guest accepted the code of conduct
)
codes = _state(
    "codes",
    *_key("id"),
    _site(),
    *_text("actor"),
    *_instant("made_at", "expires"),
    *_optional_instant("used_at"),
    *_text("digest"),  # of the digits, which cannot be read back
    *_optional_text("device", "person"),  # one of them: where the code may be entered
    *_text("subject"),  # what it opens, or with `minutes` what they are for
    *_text("how_long"),  # hour, today or good; empty with minutes
    *_number("minutes"),  # on top of a budget; 0 if it opens something
    Column("request_id", NUMBER),  # the request that it answers
)
vouchers = _state(
    "vouchers",
    *_key("digest"),  # of the code, which cannot be read back
    _site(),
    *_text("band"),  # child or adult
    *_number("minutes"),
    *_text("actor"),
    *_instant("made_at", "expires"),
    *_optional_instant("used_at"),
    Column("serial", TEXT, nullable=False, server_default=""),  # as printed
    Column("price", NUMBER, nullable=False, server_default="0"),  # in the currency's smallest unit
    Column("is_paid", NUMBER, nullable=False, server_default="1"),  # 0: sold later, and counted once it is used
)
counter_entries = _log(
    "counter_entries",
    *_instant("at"),
    *_text("actor", "action", "seat", "session", "kind"),
    *_number("minutes", "count"),
    *_number("due", "taken"),  # in the smallest unit of `currency`; negative if given back
    *_text("currency", "note"),
    *_optional_text("key"),  # of the request that asked for it; NULL without one
    Index("counter_entries_at", "site", "at"),
    Index("counter_entries_key", "site", "key", unique=True),  # so that no request is carried out twice
    Column("number", NUMBER),  # place in the chain of the entries; NULL for a row that Hedgerow did not write
    Column("previous", TEXT, nullable=False, server_default=""),  # digest of the entry before it
    Column("digest", TEXT, nullable=False, server_default=""),
    Index("counter_entries_number", "site", "number", unique=True),
    Index("counter_entries_session", "session"),
)
staff = _state(
    "staff",
    _site(primary_key=True),
    *_key("name"),
    *_text("role"),
    *_instant("created_at"),
    *_text("pin"),  # an argon2 hash
)
members = _state(  # of a café
    "members",
    _site(primary_key=True),
    Column("number", NUMBER, primary_key=True, autoincrement=False),
    *_text("name"),  # empty once the member is removed, so that no number is given twice
    *_number("balance"),
    *_text("currency"),
    *_instant("created_at"),
)
growing_up = _state(  # the profiles of people whose birth is known
    "growing_up",
    _site(primary_key=True),
    *_key("person"),
    *_text("born", "profile"),
    *_text("announced"),  # the next profile, empty before it is announced
    *_instant("announced_at", "takes_effect"),
    *_instant("erased_at"),  # when what was recorded about a new adult is erased, 0 for never
    Column("unseen", Float, nullable=False, server_default="0"),  # seconds that have still to be seen passing
    Column("seen_at", Float, nullable=False, server_default="0"),  # the last look, 0 if there is nothing to come
)
agreements = _state(  # of each child with its parents
    "agreements",
    _site(primary_key=True),
    *_key("person"),
    *_number("version"),  # counts the changes of the row
    *_text("promises", "words"),  # of the parents: names as JSON, and a line of their own
    *_number("months"),  # until the next look
    *_number("agreed_round", "child_round", "parent_round"),  # of the last agreement, and of the last yes of each side
    *_text("child_terms", "parent_terms"),  # JSON: what each side said yes to
    *_text("parent"),  # who said yes
    *_instant("child_at", "parent_at", "agreed_at", "look_at"),  # 0: never
    *_number("reminded"),  # the round whose end was told
)
rules_told = _state(  # the rules of each child that its page has told it, and what is recorded about it
    "rules_told",
    _site(primary_key=True),
    *_key("person"),
    *_text("rules"),  # JSON
    *_text("privacy"),  # the level in force
    *_text("raised"),  # the level that is announced, empty without one
    *_instant("raised_at", "begins_at"),  # when it was seen last; when it begins if time goes on from then
)
rule_changes = _log(  # of children's rules
    "rule_changes",
    *_text("person"),
    *_instant("at"),
    *_text("before", "after"),  # JSON
    *_text("reason"),
    Index("rule_changes_person", "person", "at"),
)
legal_stages = _state(  # what the law closes to people, and what of it is announced
    "legal_stages",
    _site(primary_key=True),
    *_key("person"),
    *_text("basis", "closed", "announced"),
    *_instant("announced_at", "takes_effect", "seen_at"),
    Column("unseen", Float, nullable=False),
)
goals = _log(  # that people have set themselves; nobody else may read them
    "goals",
    *_text("person", "subject"),  # category:NAME or service:NAME, empty for all use
    *_instant("at"),
    *_number("minutes"),  # 0: a quiet time
    *_number("starts", "ends"),  # of the quiet time, in minutes after midnight
)
statements = _log(
    "statements",
    *_number("number"),
    *_text("digest", "previous", "body", "signature"),
    *_instant("received_at"),
    *_optional_text("receipt"),  # JSON, by the owner of a store for several sites
    UniqueConstraint("site", "number", name="statements_number"),
)
authorities = _log(
    "authorities",
    *_instant("at"),
    *_text("replaces"),  # fingerprint of the certificate authority before
    *_text("sealed"),  # the next one with its key, encrypted with a key that only holders of the one before can make
    UniqueConstraint("site", "replaces", name="authorities_replaces"),
)
notices = _log(
    "notices",
    *_instant("at"),
    *_text("receiver", "topic", "text", "problem"),
    *_text("key"),  # the notice's subject: another one with the same key adds to `count`
    *_text("state"),  # waiting, sent, or given up
    *_number("count", "tries"),
    *_instant("next_at"),  # not tried again before
    *_optional_instant("sent_at"),
    Index("notices_receiver", "receiver", "state", "id"),
    Index("notices_key", "receiver", "topic", "key", "id"),
)
remembered_sites = _state(
    "remembered_sites",
    _site(primary_key=True),
    *_key("host", "topic"),
    *_instant("at", "ends"),  # of the last page that was recognised; until when it counts
    # somebody said that it is not so, which is final
    *_optional_text("corrected_by"),
    *_optional_instant("corrected_at"),
)

writers = _state(
    "writers",
    _site(primary_key=True),
    *_key("writer"),
    *_number("batch"),  # the newest batch that this writer has written, so that none is written twice
    *_instant("at"),
)


def reversed_labels(host: str) -> str:
    """Return a host as the journal stores it. The function is its own inverse.

    >>> reversed_labels("www.example.org")
    'org.example.www'
    """
    return ".".join(reversed(host.split(".")))
