"""The page of the requesting device: its rules, requests, kept data, and helplines.

It shows nothing of other devices.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import Form, Query, Request
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response

from hedgerow.blocklists.names import is_public_suffix, parse_host
from hedgerow.dashboards.control import DeviceView, ExplanationView, InvalidInput
from hedgerow.dashboards.data_export import ndjson_download
from hedgerow.dashboards.edits.devices import takes_password
from hedgerow.dashboards.extensions import Place
from hedgerow.dashboards.pages.activity_groups import merge_similar
from hedgerow.dashboards.pages.context import PageContext, PageGroup, Renderer, ShownCard, redirect_to
from hedgerow.dashboards.pages.forms import LOCAL_PATH
from hedgerow.dashboards.reports import OLDER_FROM, age_of
from hedgerow.dashboards.routes import DEVICES, get, post
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.childrens_names import UNNAMED_REASONS, may_read, may_read_count, name_in_row, unnamed
from hedgerow.dashboards.words.languages import LANGUAGE_COOKIE, Language, language_of, message
from hedgerow.dashboards.words.rules import RulesText, rules_text
from hedgerow.journal.reader import DecisionFilter, DecisionRow, ReasonCount, RequestRow
from hedgerow.policies.access_subject import service_or_address
from hedgerow.policies.askable import forbids_access_request
from hedgerow.policies.content import TUNNEL_TRAFFIC
from hedgerow.policies.expiry import PersonTimes, ending_sentence, expiring_rules
from hedgerow.policies.host_facts import Services, help_choices
from hedgerow.policies.model import AccessRequest, Decision, DeviceId, Grant, Policy, Reason, RequestKind, Verdict
from hedgerow.policies.text.locales import LANGUAGES
from hedgerow.policies.text.notes import plain_note
from hedgerow.proxy.limits import AttemptLimiter
from hedgerow.proxy.pages.help import render_help
from hedgerow.proxy.pages.translations import is_child_of_family, is_young, page_words

_DAY_S = 86400
_YEAR_S = 365 * _DAY_S
_LOOKS, _PAUSE = 15, 0.1
"""How often, and after how many seconds each, a page looks for what a child just said."""
_ADDRESSES = 12
"""Addresses of a service that are looked at to find one that is blocked."""
_ROWS, _ROWS_READ = 12, 1000
"""Rows of blocked sites that are shown, and those that are merged into them."""


type _BlockedRow = tuple[DecisionRow, str, str]
"""A row, the name of what was closed, and why."""


@dataclass(frozen=True, slots=True)
class _OwnDeviceData:
    blocked: tuple[_BlockedRow, ...]
    requests: tuple[RequestRow, ...]
    grants: tuple[Grant, ...]
    counts: tuple[ReasonCount, ...]
    cards: list[ShownCard]
    times: PersonTimes | None


class OwnDevicePages(PageGroup):
    """`/device` and below."""

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._ask_limit = AttemptLimiter()

    @get("/device", DEVICES)
    async def device(
        self,
        request: Request,
        voucher: Annotated[str, Query(max_length=20)] = "",
        before: Annotated[str, Query(max_length=20, alias="from")] = "",
    ) -> Response:
        """Show the page. `voucher` is a code to fill in, from the QR code of a voucher.

        `from` is `parents` for a child that has opened the parents' address.
        """
        context, view, reader = self._context, self._device(request), language_of(request)
        policy, now = context.policy(), context.clock()
        tone = tone_of(view, policy)
        rules = (
            rules_text(policy, view.profile, view.person, view.device, reader, now, for_child=bool(tone))
            if view.profile in policy.profiles
            else None
        )
        mine = await run_in_threadpool(self._read, view, reader, rules if tone else None)
        person = policy.people.get(view.person or "")
        device = policy.devices.get(view.device)
        owners = {"", view.device, *([view.person] if view.person else [])}
        return self._page(
            request,
            "device.html",
            typed=voucher,
            is_led_here=before == "parents",
            tone=tone,
            young=page_words(reader.code)["young"],
            worry=page_words(reader.code)["worry"]["button"],
            sees_errors=device is None or not device.trusts_ca,
            used=request.query_params.get("used", ""),
            state=_state(view, mine),
            view=view,
            mine=mine,
            open_until=lambda grant: labels.open_until(grant, mine.times),
            conditions_of_person=person.conditions if person is not None else (),
            rules=rules,
            is_unnamed=view.device not in policy.devices and not view.is_seat and context.accounts.has_any,
            budgets=[row for row in context.budgets() if row.whose in (view.person, view.limited_as or view.device)],
            endings=[labels.ending_text(ending, reader) for ending in self._context.time.endings(view.device)],
            help=help_section(view, policy, reader),
            dues=[
                due
                for due in expiring_rules(policy)
                if due.whose in owners and due.until > now and (not tone or due.allows or may_read(due.target.name))
            ],
            left=labels.minutes_left(view.session_ends, now),
        )

    @post("/device/ask", DEVICES)
    async def ask(
        self,
        request: Request,
        site: Annotated[str, Form(max_length=300)] = "",
        note: Annotated[str, Form(max_length=300)] = "",
    ) -> Response:
        """Ask for a site or a service."""
        view, context = self._device(request), self._context
        addresses = parse_typed_addresses(site)
        points = [point for address in addresses for point in await context.control.explain(view.device, address)]
        seen = await run_in_threadpool(self._closed_by_its_server, view.device, addresses[0])
        asked = request_of(view, addresses[0], note, points, seen, context.clock())
        is_named = view.device in context.policy().devices
        if not self._ask_limit.allows(view.limited_as or view.device, context.clock(), is_named=is_named):
            raise InvalidInput("You have asked several times in a few minutes. Wait for an answer first.")
        context.request_access(asked)

        def is_recorded() -> bool:
            rows = context.reader.requests_of(view.device)
            return any(
                row.subject == service_or_address(asked.host, asked.reason) and row.last_at >= asked.when
                for row in rows
            )

        await until_recorded(is_recorded)
        return redirect_to("/device#ask")

    @get("/device/state", DEVICES)
    async def state(self, request: Request) -> Response:
        """Return a text that changes with the page's parts that are kept up to date."""
        view = self._device(request)
        return JSONResponse({"state": _state(view, await run_in_threadpool(self._read, view, language_of(request)))})

    @get("/device/time", DEVICES)
    async def time(self, request: Request) -> Response:
        """Return remaining times as JSON, for a clock on the child's desk."""
        view = self._device(request)
        budgets = [
            asdict(row) for row in self._context.budgets() if row.whose in (view.person, view.limited_as or view.device)
        ]
        endings = [
            {"says": ending_sentence(ending), **asdict(ending)} for ending in self._context.time.endings(view.device)
        ]
        return JSONResponse({"held": view.held, "held_until": view.held_until, "budgets": budgets, "endings": endings})

    @get("/device/kept", DEVICES)
    async def kept(self, request: Request) -> Response:
        """Return the data kept about this device, or about its person."""
        context, view = self._context, self._device(request)
        since = await run_in_threadpool(context.time.session_start, view.device)
        return ndjson_download(
            await run_in_threadpool(context.data_export.pieces, context.data_export.data_subject_at(view, since))
        )

    @post("/device/conduct", DEVICES)
    async def accept(self, request: Request) -> Response:
        """Accept a café's code of conduct."""
        view = self._device(request)
        if view.session:
            await self._context.time.accept(view.session)
        return redirect_to("/device")

    @post("/device/code", DEVICES)
    async def code(self, request: Request, code: Annotated[str, Form(max_length=300)] = "") -> Response:
        """Redeem an access code."""
        await self._context.codes.redeem(self._device(request).device, code)
        return redirect_to("/device?used=code")

    @post("/language", DEVICES)
    async def language(
        self,
        request: Request,
        language: Annotated[str, Form(max_length=8)] = "",
        back: Annotated[str, Form(max_length=300)] = "/",
    ) -> Response:
        """Choose the language of this browser; an empty one restores its default. `back` is the path to return to."""
        response = redirect_to(back if LOCAL_PATH.fullmatch(back) else "/")
        if language in LANGUAGES:
            response.set_cookie(
                LANGUAGE_COOKIE,
                language,
                max_age=_YEAR_S,
                httponly=True,
                samesite="strict",
                secure=request.url.scheme == "https",
                path="/",
            )
        else:
            response.delete_cookie(LANGUAGE_COOKIE, httponly=True, samesite="strict")
        return response

    def _closed_by_its_server(self, device: DeviceId, host: str) -> DecisionRow | None:
        """Return the last block of a host for what its server or traffic showed, which no rule tells of.

        An inspector blocks single requests for the traffic of a site.
        """
        since = max(self._context.clock() - _DAY_S, self._context.time.session_start(device))
        blocks = DecisionFilter(
            device=device,
            verdict=Verdict.BLOCK,
            reason=Reason.RECOGNISED,
            host=host,
            since=since,
        )
        return next(
            (
                row
                for row in self._context.reader.decisions(blocks, limit=50).rows
                if row.kind is RequestKind.TUNNEL or row.what == TUNNEL_TRAFFIC
            ),
            None,
        )

    def _read(self, view: DeviceView, words: Language, rules: RulesText | None = None) -> _OwnDeviceData:
        """Read what the page shows. `rules` are those of a child, who may not read all of it."""
        device, person = view.device, view.person
        reader, now = self._context.reader, self._context.clock()
        midnight = labels.midnight_before(now, labels.zone(self._context.control.status().timezone))
        grants = tuple(
            grant
            for grant in reader.grants(now)
            if grant.device == device or (person is not None and grant.person == person)
        )
        since = self._context.time.session_start(device)
        blocks = DecisionFilter(
            device=device,
            verdict=Verdict.BLOCK,
            since=since or None,
            not_reasons=UNNAMED_REASONS if rules else frozenset(),
            not_whats=unnamed().union(islice(rules.leaves_out, _ROWS_READ)) if rules else frozenset(),
        )
        blocked = merge_similar(reader.decisions(blocks, limit=_ROWS_READ).rows)
        counts = () if since > midnight else reader.reasons(midnight, device)
        return _OwnDeviceData(
            blocked=tuple(islice(_blocked_rows(blocked, words, rules), _ROWS)),
            requests=tuple(
                request for request in reader.requests_of(device) if request.at >= since and not request.chore
            ),
            grants=tuple(grant for grant in grants if grant.starts >= since or grant.device is None),
            counts=tuple(
                item for item in counts if item.verdict is Verdict.BLOCK and (rules is None or may_read_count(item))
            )[:8],
            cards=self._context.cards(Place.OWN_PAGE, view),
            times=self._context.control.person_times([person] if person else []).get(person or ""),
        )


def _blocked_rows(rows: Iterable[DecisionRow], words: Language, rules: RulesText | None) -> Iterator[_BlockedRow]:
    """Yield rows with the name of what was closed and why. For a child (`rules` given), some are left out."""
    for row in rows:
        if rules is None:
            yield row, row.url or row.host or words.gettext("not kept"), labels.reason_text(row.reason, row.what, words)
        elif name := name_in_row(row, words):
            yield row, name, _why_closed(row, words, rules)


def _why_closed(row: DecisionRow, words: Language, rules: RulesText) -> str:
    """Return why something was closed, in words for a child."""
    if row.reason is Reason.RULE or row.what in rules.chosen:
        return words.gettext(message("Closed by your parents"))
    if row.reason is Reason.SERVICE:
        # Without a lasting rule, it was homework, a schedule, or a rule that has ended.
        by_time = labels.reason_text(Reason.SCHEDULE, "", words)
        return words.gettext(message("Open when you are older")) if row.what in rules.later else by_time
    return (
        labels.title_of(row.what, words)
        if row.reason is Reason.CATEGORY
        else labels.reason_text(row.reason, row.what, words)
    )


async def until_recorded(is_recorded: Callable[[], bool]) -> None:
    """Wait a moment for the journal, which is written twice per second, so that the next page shows what
    was just said.
    """
    for _ in range(_LOOKS):
        if await run_in_threadpool(is_recorded):
            return
        await asyncio.sleep(_PAUSE)


def _state(view: DeviceView, mine: _OwnDeviceData) -> str:
    """Return a digest of what the page keeps up to date: the answers to requests, permissions, and a closure of the
    internet.
    """
    answers = [(each.id, each.state, each.last_at) for each in mine.requests]
    parts = (answers, mine.cards, [grant.id for grant in mine.grants], view.held, view.held_until)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def tone_of(view: DeviceView, policy: Policy) -> Literal["young", "child", "teen", ""]:
    """Return how a page speaks to a child of the family: by age, or else by profile. Empty for anybody else."""
    person, profile = policy.people.get(view.person or ""), policy.profiles.get(view.profile)
    if person is None or not is_child_of_family(view.person, profile, at_seat=view.is_seat):
        return ""
    older: Literal["child", "teen"] = "child" if age_of(person) < OLDER_FROM else "teen"
    return "young" if is_young(person.age, view.profile) else older


def help_section(view: DeviceView, policy: Policy, reader: Language) -> Markup:
    """Return the section with helplines in words for the age of the device's owner, or nothing if there are no
    helplines.
    """
    age = policy.people[view.person].age if view.person in policy.people else None
    words, young = page_words(reader.code), is_young(age, view.profile)
    return render_help(words, help_choices(view.lifelines), young=young) if view.lifelines else Markup()


def not_in_charge_page(
    renderer: Renderer, request: HTTPConnection, view: DeviceView, policy: Policy, here: str
) -> Response:
    """Return the page for a device that may not open a page of the people in charge. It says how to go on.

    `here` is the address of the pages at the machine itself.
    """
    profile = policy.profiles.get(view.profile)
    return renderer.refusal(
        request,
        "not_in_charge.html",
        403,
        view=view,
        is_named=view.device in policy.devices,
        takes_password=takes_password(policy, view),
        here=here,
        profile=language_of(request).gettext(profile.title) if profile is not None else view.profile,
        help=help_section(view, policy, language_of(request)),
    )


def parse_typed_addresses(text: str) -> tuple[str, ...]:
    """Return the addresses of a site, a URL or a service as people type it, and those of the site's service.

    Raises `InvalidInput`.

    >>> parse_typed_addresses("https://Scratch.mit.edu/ideas"), parse_typed_addresses("roblox")
    (('scratch.mit.edu',), ('roblox.com', 'rbxcdn.com', 'rbx.com'))
    """
    text, services = " ".join(text.split()), Services.load().by_id
    called = text.casefold()
    for service in services.values():
        if called in (service.title.casefold(), service.id):
            return service.addresses[:_ADDRESSES]
    try:
        host = parse_host(urlsplit(text if "://" in text else f"//{text}").hostname or "")
    except ValueError:
        host = None
    if host is None or "." not in host or is_public_suffix(host):
        raise InvalidInput("Type the address of the site, such as scratch.mit.edu, or the name of an app.")
    meant = services.get(service_or_address(host))
    return (host, *(meant.addresses[:_ADDRESSES] if meant is not None else ()))


def request_of(
    view: DeviceView,
    host: str,
    note: str,
    points: Iterable[ExplanationView],
    seen: DecisionRow | None,
    now: float,
) -> AccessRequest:
    """Return the request for the first address that is blocked at any enforcement point, or else for what was `seen` to
    be closed.

    Raises `InvalidInput` if nobody can open it.

    `host` is what was typed.

    It is typed on the page: a home with DNS only has no block page for HTTPS that could offer it.
    """
    blocked = next((point for point in points if point.decision.verdict is Verdict.BLOCK), None)
    decision: Decision | DecisionRow
    if blocked is not None:
        decision, closed = blocked.decision, blocked.host
        if forbids_access_request(decision):
            raise InvalidInput("%(host)s cannot be asked for. Talk to the people who manage this network.", host=host)
    elif seen is not None:
        decision, closed = seen, seen.host
    else:
        raise InvalidInput(
            "%(host)s is open here. If it does not work, it may need another blocked site: ask for that one.", host=host
        )
    reason = f"{decision.reason.value}: {decision.what}" if decision.what else decision.reason.value
    return AccessRequest(now, view.device, view.person, closed, "", reason, plain_note(note))
