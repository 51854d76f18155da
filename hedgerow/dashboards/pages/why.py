"""Explanations: what decides about a site or service now, and what decided when a row of the log was written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.names import parse_host
from hedgerow.dashboards.control import ExplanationView, InvalidInput, at_field
from hedgerow.dashboards.pages.activity_groups import group_activity, owners_of, services_named
from hedgerow.dashboards.pages.context import PageGroup
from hedgerow.dashboards.pages.device_cards import RECENT_DEVICES
from hedgerow.dashboards.pages.forms import refusal_of
from hedgerow.dashboards.routes import READ, get
from hedgerow.journal.activity import ActivityFilter, HostActivity
from hedgerow.journal.reader import DecisionRow
from hedgerow.policies.decide import LIFTED_BY_ALWAYS
from hedgerow.policies.host_facts import Service
from hedgerow.policies.model import Decision, Person, Policy, Privacy, Reason, RequestKind, Verdict
from hedgerow.policies.targets import ILLEGAL

_DEVICES, _HOSTS, _SIMILAR = 6, 6, 6
_LATELY_S, _JUST_NOW_S = 24 * 3600.0, 15 * 60.0
_CLOSED = frozenset(
    {Reason.PAUSE, Reason.BEDTIME, Reason.SCHEDULE, Reason.BUDGET, Reason.UNNAMED, Reason.NO_SESSION, Reason.CONDUCT}
)

type Text = Annotated[str, Query(max_length=8192)]
type RowId = Annotated[int | None, Query(ge=1, le=2**62)]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The same decision for several hosts on several devices. `kind` is the enforcement point that makes it."""

    decision: Decision
    kind: RequestKind
    hosts: tuple[str, ...]
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of a question: a service or a site, and the hosts or URLs by which it is reached."""

    name: str
    target: str
    addresses: tuple[str, ...]
    service: Service | None = None


@dataclass(frozen=True, slots=True)
class QuestionOwner:
    """The owner that a question is about: a person with devices, or a device alone.

    `is_private`: the log keeps no sites.
    """

    value: str
    name: str
    person: str | None
    devices: tuple[str, ...]
    is_private: bool


class WhyPages(PageGroup):
    """`/why`."""

    @get("/why", READ)
    async def why(
        self, request: Request, row: RowId = None, who: Text = "", device: Text = "", target: Text = ""
    ) -> Response:
        """Explain a row of the log by the rules of that moment, or a site or service by those in force now."""
        if row is not None:
            return await self._past(request, row)
        who = who or f"device:{device}"
        shared: dict[str, Any] = {
            "owners": await self._owners(who, device),
            "asked": target,
            "asked_for": who,
            "told": None,
            "whose": None,
            "limits": {},
        }
        if refusal_of(request) is not None:
            return self._page(request, "why.html", **shared)
        with at_field("who"):
            whose = self._whose(who)
        subject, similar = _subject(target)
        verdicts = await self._verdicts(subject, whose) if subject is not None else ()
        limits = self._limits(whose.person)
        shared |= {"told": subject, "whose": whose, "similar": similar, "verdicts": verdicts, "limits": limits}
        lately, others = (
            await run_in_threadpool(self._recent_blocks, subject, whose) if subject is not None else ((), ())
        )
        may_open = any(_can_be_allowed(each.decision) for each in verdicts)
        return self._page(
            request, "why.html", lately=lately, others=others, may_open=may_open, closures=_CLOSED, **shared
        )

    async def _owners(self, who: str, device: str) -> list[tuple[str, str]]:
        """Return the choices of people and devices, among them the device that is asked about."""
        context = self._context
        owners = owners_of(
            context.policy(), await run_in_threadpool(context.reader.recent_devices, context.clock(), RECENT_DEVICES)
        )
        return owners if not device or who in dict(owners) else [(who, device), *owners]

    def _whose(self, text: str) -> QuestionOwner:
        """Return the owner that `person:NAME` or `device:ID` names. Raises InvalidInput."""
        kind, _, name = text.partition(":")
        policy = self._context.policy()
        if kind == "person":
            if name not in policy.people:
                raise InvalidInput("Choose a person or a device.")
            devices = tuple(each.id for each in policy.devices.values() if each.person == name)
            if not devices:
                raise InvalidInput("%(name)s has no device yet. Assign one on the page of devices.", name=name)
            return QuestionOwner(text, name, name, devices[:_DEVICES], _is_private(policy, policy.people[name]))
        if kind != "device" or not name:
            raise InvalidInput("Choose a person or a device.")
        known = policy.devices.get(name)
        person = policy.people.get(known.person) if known is not None and known.person else None
        return QuestionOwner(
            text, name, person.name if person else None, (name,), person is not None and _is_private(policy, person)
        )

    async def _verdicts(self, subject: Subject, whose: QuestionOwner) -> tuple[Verdicts, ...]:
        """Return the decisions on all addresses for all devices, equal ones together, blocks first."""
        same: dict[tuple[Decision, RequestKind], tuple[dict[str, None], dict[str, None]]] = {}
        for device in whose.devices:
            for address in subject.addresses:
                told = await self._context.control.explain(device, address)
                final = _final(told)
                hosts, devices = same.setdefault((final.decision, final.kind), ({}, {}))
                hosts.setdefault(final.url or final.host)
                devices.setdefault(device)
        found = [
            Verdicts(decision, kind, tuple(hosts), tuple(devices))
            for (decision, kind), (hosts, devices) in same.items()
        ]
        return tuple(sorted(found, key=lambda each: each.decision.verdict is not Verdict.BLOCK))

    def _recent_blocks(
        self, subject: Subject, whose: QuestionOwner
    ) -> tuple[tuple[HostActivity, ...], tuple[HostActivity, ...]]:
        """Return what was blocked of the subject within a day, and what else was blocked just now: a page
        may need it.
        """
        if whose.is_private:
            return (), ()
        now, reader = self._context.clock(), self._context.activity
        hosts = reader.find_hosts("", [_host_of(address) for address in subject.addresses])
        blocked = {"person": whose.person, "verdict": Verdict.BLOCK}
        mine = reader.activity(ActivityFilter(now - _LATELY_S, now + 1, whose.devices, hosts=hosts, **blocked)).hosts  # type: ignore[arg-type]
        just_now = reader.activity(ActivityFilter(now - _JUST_NOW_S, now + 1, whose.devices, **blocked)).hosts  # type: ignore[arg-type]
        elsewhere = (each for each in just_now if each.host not in hosts)
        others = group_activity(elsewhere, self._context.control.names().known, _HOSTS).groups
        return _newest(mine), _newest(part for group in others for part in group.parts[:1])

    async def _past(self, request: Request, row_id: int) -> Response:
        past = await run_in_threadpool(self._past_decision, row_id)
        if past is None:
            raise InvalidInput("This entry is not kept any more.")
        row: DecisionRow = past["row"]
        now: Sequence[ExplanationView] = ()
        if row.host:
            with contextlib.suppress(InvalidInput):  # the device may not be known any more
                now = await self._context.control.explain(row.device, row.url or row.host)
        today, limits = _final(now).decision if now else None, self._limits(row.person)
        return self._page(request, "why_then.html", past=past, today=today, limits=limits)

    def _limits(self, person: str | None) -> dict[str, int | None]:
        """Return the minutes per day that a person has, by subject."""
        return {row.subject: row.limit for row in self._context.budgets() if row.whose == person}

    def _past_decision(self, row_id: int) -> dict[str, Any] | None:
        """Return a row of the log, and what is known about the rules and lists that decided."""
        reader, versions = self._context.activity, self._context.rule_versions
        row = reader.decision(row_id)
        if row is None:
            return None
        version = versions.version(row.version) if row.version is not None else None
        source = row.rule.partition(": ")[0]
        return {
            "row": row,
            "version": version,
            "is_current": version is not None and version.id == versions.newest(),
            "excerpt": version.excerpt(row.rule) if version is not None else "",
            "source": version.source(source) or version.source(source.rpartition(":")[0])
            if version is not None and source
            else None,
            "grant": reader.grant_at(row.what, row.at, row.device, row.person) if row.reason is Reason.GRANT else None,
            "pause": reader.pause_at(row.at, row.device, row.person) if row.reason is Reason.PAUSE else None,
        }


def _is_private(policy: Policy, person: Person) -> bool:
    """Return whether the log keeps no sites of a person."""
    privacy = person.rules.privacy or policy.profiles[person.profile].rules.privacy
    return privacy not in (Privacy.FULL, Privacy.DOMAIN)


def _subject(text: str) -> tuple[Subject | None, tuple[Service, ...]]:
    """Return what a text names, or services to choose from. Raises InvalidInput if it names nothing."""
    wanted = text.strip()
    services = services_named(wanted)
    exact = [each for each in services if wanted.casefold() in (each.title.casefold(), each.id)]
    if "." not in wanted and services:
        if not exact and len(services) > 1:
            return None, services[:_SIMILAR]
        service = exact[0] if exact else services[0]
        return Subject(service.title, service.id, service.addresses[:_HOSTS], service), ()
    if wanted.casefold() in {name for each in builtin_categories() for name in (each.name, each.title.casefold())}:
        raise InvalidInput("'%(what)s' is a topic: ask about one site or service.", what=wanted)
    host = parse_host(_host_of(wanted)) if wanted else None
    if host is None or "." not in host:
        raise InvalidInput(
            "No site and no known service is called '%(what)s'. A site looks like example.org.", what=wanted
        )
    is_page = "/" in wanted.partition("://")[2] or ("/" in wanted and "://" not in wanted)
    return Subject(host, wanted, (wanted if is_page else host,)), ()


def _host_of(address: str) -> str:
    return (urlsplit(address if "://" in address else f"//{address}").hostname or "") if address else ""


def _final(told: Sequence[ExplanationView]) -> ExplanationView:
    """Return the explanation that decides: the first that blocks, else the last."""
    return next((each for each in told if each.decision.verdict is Verdict.BLOCK), told[-1])


def _can_be_allowed(decision: Decision) -> bool:
    """Return whether a permission opens it, or leads to one that does."""
    is_held = decision.reason in _CLOSED and decision.reason not in LIFTED_BY_ALWAYS
    return decision.verdict is Verdict.BLOCK and decision.what != ILLEGAL and not is_held


def _newest(parts: Iterable[HostActivity]) -> tuple[HostActivity, ...]:
    return tuple(sorted(parts, key=lambda part: -part.last)[:_HOSTS])
