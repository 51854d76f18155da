"""One search over the decisions of all sites of a store on PostgreSQL: by host, device or person.

It finds what was recorded and nothing else, so the privacy of each person at each site was applied before. Row-level
security leaves a site's role its own rows. The names come from the few rows of `hosts_seen` and `devices_seen`, and of
each name the newest decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Select, String, and_, cast, func, or_, select, text, true
from sqlalchemy.exc import DatabaseError

from hedgerow.journal.reader import DecisionRow, decision_row, is_below
from hedgerow.journal.store import Store
from hedgerow.journal.tables import decisions, devices_seen, hosts_seen, reversed_labels, site_status

_NAMES, _OF_A_SITE, _OF_A_NAME, _SHOWN = 100, 20, 5, 100
_SCAN_MS = 120
"""Time for reading all names of a kind, in milliseconds.

A host with its whole domain is found by an index, however many there are.
"""
_CANCELED = "57014"  # SQLSTATE query_canceled
_C = decisions.c


@dataclass(frozen=True, slots=True)
class FoundDecision:
    """A recorded decision and the site that recorded it."""

    site: str
    decision: DecisionRow


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The newest decisions of the names that match, the newest first.

    `is_complete` is False if there may be more names.
    """

    decisions: tuple[FoundDecision, ...]
    is_complete: bool


class SiteSearch:
    """Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, wanted: str) -> SearchResult:
        """Find a host, with all of its subdomains, and each host, device and person whose name contains `wanted`."""
        lowered = wanted.lower().strip(".")
        if not lowered or not lowered.isprintable():
            return SearchResult((), is_complete=True)
        of_domain = self._rows(_hosts_of_domain(reversed_labels(lowered)))
        host_part = select(hosts_seen.c.site, hosts_seen.c.host_key).where(
            hosts_seen.c.host.contains(lowered, autoescape=True)
        )
        named = or_(*(_contains(devices_seen.c[name], wanted, lowered) for name in ("device", "name", "person")))
        hosts, are_all_hosts = self._scan(host_part)
        devices, are_all_devices = self._scan(select(devices_seen.c.site, devices_seen.c.device).where(named))
        keys = list(dict.fromkeys((*of_domain, *hosts)))[:_NAMES]
        rows = [*self._newest(_C.host_key, keys), *self._newest(_C.device, devices)]
        found = {row.id: FoundDecision(row.site, decision_row(row)) for row in rows}
        ordered = sorted(found.values(), key=lambda each: -each.decision.at)[:_SHOWN]
        return SearchResult(tuple(ordered), are_all_hosts and are_all_devices and len(of_domain) < _NAMES)

    def _rows(self, query: Select[Any]) -> list[tuple[str, str]]:
        return [(row.site, row[-1]) for row in self._store.rows(query)]

    def _scan(self, query: Select[Any]) -> tuple[list[tuple[str, str]], bool]:
        """Return names among all of a kind, and False if there are more or the time was over before."""
        try:
            with self._store.begin() as connection:
                connection.execute(text(f"SET LOCAL statement_timeout = {_SCAN_MS}"))
                rows = [(row.site, row[-1]) for row in connection.execute(query.limit(_NAMES))]
        except DatabaseError as error:
            if getattr(error.orig, "sqlstate", None) != _CANCELED:
                raise
            return [], False
        return rows, len(rows) < _NAMES

    def _newest(self, column: ColumnElement[str], names: Sequence[tuple[str, str]]) -> Sequence[Any]:
        """Return the newest decisions of each pair of a site and a name. Each is one look at an index of each day."""
        if not names:
            return ()
        arrays = [cast(list(each), ARRAY(String)) for each in zip(*names, strict=True)]
        wanted = func.unnest(*arrays).table_valued("site", "name").render_derived("wanted")
        condition = and_(_C.site == wanted.c.site, column == wanted.c.name)
        newest = select(decisions).where(condition).order_by(_C.id.desc()).limit(_OF_A_NAME).lateral("newest")
        return self._store.rows(select(newest).select_from(wanted.join(newest, true())))


def _hosts_of_domain(key: str) -> Select[Any]:
    """Select the hosts of a domain at each site that has reported, by the primary key."""
    sites = select(site_status.c.site).distinct().subquery("sites")
    host = hosts_seen.c
    is_meant = and_(host.site == sites.c.site, or_(host.host_key == key, is_below(host.host_key, key)))
    hosts = select(host.site, host.host_key).where(is_meant).limit(_OF_A_SITE).lateral("hosts")
    return select(hosts).select_from(sites.join(hosts, true())).limit(_NAMES)


def _contains(column: ColumnElement[Any], wanted: str, lowered: str) -> ColumnElement[bool]:
    """The condition for names with the text in any case.

    The columns' collation knows the case of ASCII letters only.
    """
    spellings = [column.contains(each, autoescape=True) for each in (wanted, wanted.title())]
    return or_(func.lower(column).contains(lowered, autoescape=True), *spellings)
